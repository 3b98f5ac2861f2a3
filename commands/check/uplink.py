"""The rules of uplink. The kit is its echo, its link, its downlink and its playback."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from commands.check.common import Check
from commands.check.rules import Broken, Rule, needed
from shared import messages
from shared.audio.pcm import FRAME, RATE

SECOND = RATE  # samples


class Uplink(Check):
    """The check of an uplink."""

    stage = "uplink"
    neighbours = ("echo", "link", "downlink", "playback")
    reads = (
        "mic.clean",
        "link.state",
        "reply.state",
        "flush",
        "report.flush",
        "heard",
        "history.heard",
    )

    session = 0
    generation = 0
    _frames = itertools.count(1)
    _items = itertools.count(1)
    _position = 0
    _truncated_since: int | None = None

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of uplink."""
        self.generation = time.time_ns() // 1_000_000
        return [
            Rule("waits", "sends nothing while no session is open", self._waits),
            Rule("configures", "begins a session with a session.update", self._configures),
            Rule("appends", "sends the microphone whole and in order", self._appends),
            Rule("late", "never sends a frame that is too old", self._late),
            Rule("truncates", "truncates at the reported ms, once", self._truncates),
            Rule("deletes", "deletes an item that was not heard at all", self._deletes),
            Rule("whole", "leaves alone an item that was heard to its end", self._whole),
            Rule("record", "publishes the record of an interruption", self._record),
            Rule("next session", "speaks to a new session, and to no other", self._next_session),
        ]

    def probe(self) -> str:
        """Open another session, and expect the microphone in it."""
        self._open()
        self._until_appends()
        return "the microphone goes on in the next session"

    # what the kit says

    def _open(self) -> None:
        self.session = max(self.session + 1, time.time_ns() // 1000)
        state = messages.LinkState(
            state="open", session=self.session, opened_ns=time.monotonic_ns()
        )
        self.bench.publish(state)
        self.bench.publish(messages.History(session=self.session, payload=b"[]"))
        self.bench.publish(
            messages.ReplyState(
                generation=self.generation, session=self.session, active=[], items=[]
            )
        )

    def _mic(self, count: int, age_ns: int = 0) -> list[bytes]:
        """Publish frames that are told apart by their samples. Return their PCM."""
        sent = []
        for _ in range(count):
            pcm = np.full(FRAME, next(self._frames), np.int16).tobytes()
            captured_ns = time.monotonic_ns() - 20_000_000 - age_ns
            self.bench.publish(
                messages.MicClean(
                    stream=1,
                    position=self._position,
                    captured_ns=captured_ns,
                    overflows=0,
                    payload=pcm,
                )
            )
            self._position += FRAME
            sent.append(pcm)
            self.bench.rest(0.01)
        return sent

    def _reply(self) -> str:
        """Publish that an item of two seconds has come. Return its id."""
        item_id = f"item_{next(self._items)}"
        item = messages.ItemState(f"resp_{item_id}", item_id, 0, 2 * SECOND, True, False)
        self.bench.publish(
            messages.ReplyState(
                generation=self.generation, session=self.session, active=[], items=[item]
            )
        )
        return item_id

    def _interrupt(self, item_id: str, heard: int, *, times: int = 1) -> int:
        """Publish a flush, and playback's report of it. Return a mark before both."""
        since = self.bench.now
        self.generation += 1
        now = time.monotonic_ns()
        flush = messages.Flush(
            generation=self.generation,
            session=self.session,
            cause="speech_started",
            event_ns=now,
            received=[messages.Received(item_id, 0, 2 * SECOND, True)],
            interrupted=[f"resp_{item_id}"],
            active=[],
        )
        self.bench.publish(flush)
        items = [messages.HeardItem(item_id, 0, heard, 2 * SECOND, True)]
        report = messages.FlushReport(
            generation=self.generation,
            session=self.session,
            cause=flush.cause,
            event_ns=now,
            flush_ns=now,
            received_ns=now,
            silent_ns=now,
            latency_ns=0,
            items=items,
        )
        for _ in range(times):
            self.bench.publish(report)
            self.bench.rest(0.2)
        return since

    # what it says

    def _events(self, since: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """Return the events for the server, each with its session."""
        return [
            (event.session, json.loads(event.payload))
            for event in self.bench.all(messages.ClientEvent, since)
        ]

    def _of(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        return [event for _, event in self._events(since) if event["type"] == kind]

    def _audio(self, since: int) -> bytes:
        return b"".join(
            base64.b64decode(event["audio"])
            for event in self._of("input_audio_buffer.append", since)
        )

    def _until_appends(self) -> None:
        since = self.bench.now
        began = time.monotonic()
        # Frames go to the session before until uplink has read that another one is open.
        while not any(
            session == self.session and event["type"] == "input_audio_buffer.append"
            for session, event in self._events(since)
        ):
            self._mic(2)
            if time.monotonic() - began > 5:
                self.bench.alive()
                raise Broken("the microphone was not sent to the session that is open")

    # the rules

    def _waits(self) -> str:
        self._mic(10)
        self.bench.rest(0.2)
        if self._events():
            raise Broken(f"it sent {self._events()[0][1]['type']} before link was open")
        return ""

    def _configures(self) -> str:
        since = self.bench.now
        self._open()
        self._until_appends()
        session, first = self._events(since)[0]
        if first["type"] != "session.update":
            raise Broken(f"its first event was {first['type']}")
        if session != self.session:
            raise Broken(f"its first event was for session {session}, and {self.session} is open")
        return ""

    def _appends(self) -> str:
        since = self.bench.now
        sent = b"".join(self._mic(20))
        self.bench.until(lambda: sent in self._audio(since), 2)
        if sent not in self._audio(since):
            raise Broken(f"of {len(sent)} bytes in order {len(self._audio(since))} were sent")
        return f"{len(sent)} bytes"

    def _late(self) -> str:
        late = self._mic(3, 5_000_000_000)
        since = self.bench.now
        good = self._mic(5)[-1]
        self.bench.until(lambda: good in self._audio(since), 2)
        audio = self._audio(0)
        if any(pcm in audio for pcm in late):
            raise Broken("it sent frames that were captured 5 s before")
        return ""

    def _truncates(self) -> str:
        item_id = self._reply()
        # playback says it a second time, as after a restart
        since = self._truncated_since = self._interrupt(item_id, SECOND // 2, times=2)
        self.bench.until(lambda: self._of("conversation.item.truncate", since), 2)
        self.bench.rest(0.5)
        found = self._of("conversation.item.truncate", since)
        if len(found) != 1:
            raise Broken(f"{len(found)} truncations came for one item")
        [event] = found
        said = (event["item_id"], event["content_index"], event["audio_end_ms"])
        if said != (item_id, 0, 500):
            raise Broken(f"it truncates {said}, not {(item_id, 0, 500)}")
        return "at 500 ms"

    def _deletes(self) -> str:
        item_id = self._reply()
        since = self._interrupt(item_id, 0)
        self.bench.until(lambda: self._of("conversation.item.delete", since), 2)
        found = [event["item_id"] for event in self._of("conversation.item.delete", since)]
        if found != [item_id]:
            raise Broken(f"it deleted {found}, not the item {item_id}")
        return ""

    def _whole(self) -> str:
        # the server's item can be shorter than its audio by some 85 ms: so near is to its end
        since = self._interrupt(self._reply(), 2 * SECOND - RATE // 20)
        self.bench.rest(0.8)
        kinds = {event["type"] for _, event in self._events(since)}
        wrong = kinds & {"conversation.item.truncate", "conversation.item.delete"}
        if wrong:
            raise Broken(f"it sent {' and '.join(sorted(wrong))}")
        return ""

    def _record(self) -> str:
        records = [
            record
            for record in self.bench.all(messages.Interruption, needed(self._truncated_since))
            for report in record.reports
            if (report.action, report.heard_ms, report.audio_end_ms) == ("truncate", 500, 500)
        ]
        if len(records) != 1:
            raise Broken(f"{len(records)} records came for the reply that was cut at 500 ms")
        return ""

    def _next_session(self) -> str:
        since = self.bench.now
        self._open()
        self._until_appends()
        sessions = [session for session, _ in self._events(since)]
        # what was sent to the old session may be on its way until the new one begins
        sessions = (
            sessions[sessions.index(self.session) :] if self.session in sessions else sessions
        )
        if set(sessions) != {self.session}:
            raise Broken(f"it sent to sessions {sorted(set(sessions))}, and {self.session} is open")
        return ""
