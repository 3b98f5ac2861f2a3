"""The rules of downlink. The kit is its link, its playback, its uplink, its vad and a person."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from commands.check.common import EXACT
from commands.check.rules import Broken, Rule, needed
from commands.check.server_replies import ServerReplies
from shared import messages
from shared.audio.pcm import RATE

#: Audio that must not come is waited for this long, s.
LISTEN_S = 0.3
#: Texts of a server that are no events, or none that downlink knows.
NO_EVENTS = (
    "",
    "{",
    "[]",
    "null",
    '{"type": 5}',
    '{"type": "no.such.event"}',
    '{"type": "response.output_audio.delta"}',
    '{"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "*"}',
)


class Downlink(ServerReplies):
    """The check of a downlink."""

    stage = "downlink"
    neighbours = ("link", "playback", "uplink", "monitor")
    reads = (
        "server.event",
        "link.state",
        "heard",
        "report.flush",
        "control",
    )

    _whole_item: str | None = None
    _cut: tuple[str, str] | None = None
    _before: int | None = None
    _flushed_ns: int | None = None

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of downlink."""
        return [
            Rule("audio", "publishes a reply's audio to the sample", self._audio_whole),
            Rule("last", "ends each item with a last chunk", self._last),
            Rule("transcript", "publishes what is said", self._transcript),
            Rule("flush", "flushes at speech_started, before all else", self._flush),
            Rule("generation", "makes the generation grow with each flush", self._generation),
            Rule("interrupted", "publishes no audio of a response it interrupted", self._late),
            Rule("next reply", "publishes the next reply in the new generation", self._next_reply),
            Rule("out of band", "marks and does not interrupt out-of-band audio", self._oob),
            Rule("control", "flushes when a person asks for it", self._control),
            Rule("bad events", "survives events that are no events", self._bad_events),
        ]

    def probe(self) -> str:
        """Open another session, and expect a reply's audio."""
        self._open()
        return self._some_audio()

    def _some_audio(self) -> str:
        response, item = self._begin()
        self._delta(response, item, self._noise(0.2))
        self._done(response, item)
        if not self.bench.until(lambda: self._chunks(item)):
            self.bench.alive()
            raise Broken("no audio of the next reply came")
        self._some_item = item
        return "the next reply's audio comes"

    # the rules

    def _audio_whole(self) -> str:
        if not self.session:
            self._open()
        response, item = self._begin()
        pcm = self._noise(1.0)
        # pieces of an odd number of bytes: a sample may be cut in half
        pieces = [pcm[at : at + 9999] for at in range(0, len(pcm), 9999)]
        for piece in pieces:
            self._delta(response, item, piece)
        self._done(response, item)
        self.bench.until(lambda: len(self._pcm(item)) >= len(pcm), 3)
        self._whole_item = item
        if self._pcm(item) != pcm:
            self.bench.alive()
            raise Broken(f"{len(self._pcm(item)) // 2} of {len(pcm) // 2} samples, or others, came")
        at = 0
        for chunk in self._chunks(item):
            if chunk.start != at:
                raise Broken(f"a chunk has start {chunk.start}, not {at}")
            if (chunk.response_id, chunk.session) != (response, self.session):
                raise Broken("a chunk names another response or session")
            at += len(chunk.payload) // 2
        return f"{at} samples"

    def _last(self) -> str:
        item = needed(self._whole_item)
        self.bench.until(lambda: any(chunk.last for chunk in self._chunks(item)), 2)
        lasts = [chunk.last for chunk in self._chunks(item)]
        if not lasts or not lasts[-1] or any(lasts[:-1]):
            raise Broken(f"{sum(lasts)} of {len(lasts)} chunks are marked as the last")
        return ""

    def _transcript(self) -> str:
        response, item = self._begin()
        self._delta(response, item, self._noise(0.1))
        for delta in ("Hello ", "there."):
            self._event(
                "response.output_audio_transcript.delta",
                response_id=response,
                item_id=item,
                output_index=0,
                content_index=0,
                delta=delta,
            )
        self._event(
            "response.output_audio_transcript.done",
            response_id=response,
            item_id=item,
            output_index=0,
            content_index=0,
            transcript="Hello there.",
        )
        self._done(response, item)

        def final() -> list[messages.Transcript]:
            told = self.bench.all(messages.Transcript)
            return [t for t in told if t.item_id == item and t.final]

        self.bench.until(final, 2)
        if not final() or (final()[0].text, final()[0].role) != ("Hello there.", "assistant"):
            raise Broken(f"it published {[t.text for t in final()]} as final")
        return ""

    def _flush(self) -> str:
        bench = self.bench
        self._cut = response, item = self._begin()
        pcm = self._noise(2.0)
        self._delta(response, item, pcm)
        bench.until(lambda: len(self._pcm(item)) >= len(pcm), 2)
        since = bench.now
        self._before = max(chunk.generation for chunk in self._chunks(item))
        # behind much audio: a flush must not wait for it
        for _ in range(20):
            self._delta(response, item, self._noise(0.2))
        at_ns = time.monotonic_ns()
        self._event("input_audio_buffer.speech_started", audio_start_ms=100, item_id="user_1")
        if not bench.until(lambda: self._flushes(since), 2):
            raise Broken("no flush came for speech_started")
        [flush] = self._flushes(since)[:1]
        self._flushed_ns = flushed_ns = _t(bench, since)
        took = (bench.arrivals("flush", since)[0].at_ns - at_ns) / 1e6
        if flush.cause != "speech_started" or flush.session != self.session:
            raise Broken(f"the flush has cause {flush.cause!r} and session {flush.session}")
        if response not in flush.interrupted:
            raise Broken(f"the flush does not name the response that it interrupts: {response}")
        told = {r.item_id: r.received for r in flush.received}
        published = sum(
            len(a.message.payload) // 2
            for a in bench.arrivals("reply.audio")
            if getattr(a.message, "item_id", "") == item and a.stamp.t < flushed_ns
        )
        if told.get(item, -1) < published:
            raise Broken(f"the flush says {told.get(item)} received, {published} were published")
        states = [a for a in bench.arrivals("reply.state", since) if a.stamp.t < flushed_ns]
        if any(getattr(a.message, "generation", 0) >= flush.generation for a in states):
            raise Broken("reply.state had the flush's generation before the flush was published")
        return f"{took:.0f} ms after the event"

    def _generation(self) -> str:
        before, flushes = needed(self._before), self.bench.all(messages.Flush)
        generations = [flush.generation for flush in flushes]
        if not flushes or generations[0] <= before:
            raise Broken(f"the flush has generation {generations}, the audio {before}")
        if any(generation >= EXACT for generation in generations):
            raise Broken(f"generation {generations[-1]} is not below 2^53")
        since = self.bench.now
        self._event("input_audio_buffer.speech_started", audio_start_ms=200, item_id="user_2")
        self.bench.until(lambda: self._flushes(since), 2)
        if not self._flushes(since) or self._flushes(since)[0].generation <= generations[-1]:
            raise Broken("the next flush has no newer generation")
        return ""

    def _late(self) -> str:
        response, item = needed(self._cut)
        flushed_ns = needed(self._flushed_ns)
        for _ in range(3):
            self._delta(response, item, self._noise(0.2))
        self._done(response, item)
        self.bench.rest(LISTEN_S)
        late = [
            a
            for a in self.bench.arrivals("reply.audio")
            if getattr(a.message, "item_id", "") == item and a.stamp.t > flushed_ns
        ]
        if late:
            raise Broken(f"{len(late)} chunks of the interrupted response came")
        return ""

    def _next_reply(self) -> str:
        told = self._some_audio()
        generation = min(chunk.generation for chunk in self._chunks(self._some_item))
        flushes = self.bench.all(messages.Flush)
        newest = max((flush.generation for flush in flushes), default=0)
        if generation < newest:
            raise Broken(f"its audio has generation {generation}, the last flush {newest}")
        return told

    def _oob(self) -> str:
        response, item = self._begin(out_of_band=True)
        self._delta(response, item, self._noise(0.2))
        since = self.bench.now
        self._event("input_audio_buffer.speech_started", audio_start_ms=300, item_id="user_3")
        self.bench.until(lambda: self._flushes(since), 2)
        self._delta(response, item, self._noise(0.2))
        self._done(response, item, out_of_band=True)
        size = round(0.4 * RATE) * 2
        self.bench.until(lambda: len(self._pcm(item)) >= size, 2)
        if len(self._pcm(item)) != size:
            raise Broken(f"{len(self._pcm(item)) // 2} of {size // 2} samples came")
        if not all(chunk.out_of_band for chunk in self._chunks(item)):
            raise Broken("its audio is not marked as out of band")
        if any(response in flush.interrupted for flush in self._flushes(since)):
            raise Broken("a flush names it as interrupted")
        return ""

    def _control(self) -> str:
        self.bench.until(lambda: self.bench.subscribed("control"), 2)
        since = self.bench.now
        self.bench.publish(messages.Control(command="interrupt"))
        self.bench.until(lambda: self._flushes(since), 2)
        if [flush.cause for flush in self._flushes(since)] != ["control"]:
            raise Broken(f"{len(self._flushes(since))} flushes came for a person's interrupt")
        return ""

    def _bad_events(self) -> str:
        for text in NO_EVENTS:
            self._text(text)
        self.bench.rest(0.2)
        self.bench.alive()
        return self._some_audio()


def _t(bench: Any, since: int) -> int:
    """Return when the first flush since a mark was published, ns."""
    return int(bench.arrivals("flush", since)[0].stamp.t)
