"""What a session tells of itself: a line a turn in the log, and the journal for tests.

The journal says what the server believes: each truncate beside the item's real length, and, when
the next reply is made, which words it takes for heard. Its times are of the monotonic clock, s.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from services.emulator.clips import RATE
from services.emulator.conversation import Item
from services.emulator.plans import Call, Part, Say, Write
from services.emulator.replies import Spoken
from services.emulator.responses import Response
from services.emulator.schema import Refused

log = logging.getLogger("emulator")

Journal = Callable[[dict[str, Any]], None]


class Diary:
    """Writes the log and the journal of one session."""

    def __init__(self, session_id: str, journal: Journal) -> None:
        self._session_id = session_id
        self._journal = journal
        self._refused: Counter[str | None] = Counter()

    def updated(self, names: Sequence[str]) -> None:
        """Note a session.update and the fields it set."""
        log.info("%s is set: %s", self._session_id, ", ".join(names) or "nothing")

    def speech_started(self, start: int) -> None:
        """Note an onset; in samples."""
        log.info("speech starts, at %.2f s of what was appended", start / RATE)

    def speech_stopped(self, audio: bytes) -> None:
        """Note the end of a turn."""
        log.info("speech ends: %.2f s of it", len(audio) / 2 / RATE)

    def talked_over(self, spoken: Spoken) -> None:
        """Note that a reply is spoken over that was sent in full, so that nothing is cancelled."""
        log.info("%s is talked over, while it would still be playing", spoken.response_id)

    def cancelled(self, response: Response, reason: str) -> None:
        """Note a cancel."""
        log.info("%s is cut off (%s) with %d ms sent", response.id, reason, response.sent_ms)

    def done(self, response: Response) -> None:
        """Note a response.done."""
        log.info("%s is %s, %d ms sent", response.id, response.status, response.sent_ms)

    def idle(self, timeout_ms: int) -> None:
        """Note an idle timeout."""
        log.info("nobody has spoken for %d ms", timeout_ms)

    def failed(self, error: Exception) -> None:
        """Note a response that cannot be given."""
        log.error("%s", error)

    def refused(self, refused: Refused) -> None:
        """Note an error event: each code the first time, the tenth, the hundredth …"""
        self._refused[refused.code] += 1
        times = self._refused[refused.code]
        if times in (1, 10, 100, 1000, 10_000, 100_000):
            count = f" (for the {times}th time)" if times > 1 else ""
            log.info("error %s%s: %s", refused.code, count, refused.message[:200])

    def replies(self, now: float, response: Response, plan: Sequence[Part]) -> None:
        """Note a response as it begins."""
        where = "out of band " if response.out_of_band else ""
        for part in plan:
            entry: dict[str, Any] = {"response_id": response.id}
            entry["out_of_band"] = response.out_of_band
            if isinstance(part, Say):
                said = part.utterance
                log.info(
                    "%s %ssays %s, %.1f s", response.id, where, said.label, said.samples / RATE
                )
                entry |= {"says": said.label, "ms": said.samples * 1000 // RATE}
                entry["transcript"] = said.transcript
            elif isinstance(part, Write):
                log.info("%s %swrites %d characters", response.id, where, len(part.text))
                entry["writes"] = part.text
            elif isinstance(part, Call):
                log.info("%s %scalls %s", response.id, where, part.name)
                entry |= {"calls": part.name, "arguments": part.arguments}
            self._write(now, "reply", **entry)

    def truncated(
        self,
        now: float,
        event: dict[str, Any],
        item: Item | None,
        length_ms: int | None,
        refused: Refused | None,
    ) -> None:
        """Note a truncate, refused or not, and what the server had of the item before it."""
        item_id, end_ms = event["item_id"], event["audio_end_ms"]
        entry: dict[str, Any] = {"item_id": item_id, "audio_end_ms": end_ms}
        words = ""
        if item is not None and item.timeline is not None:
            timeline = item.timeline
            words = timeline.utterance.heard(end_ms)
            entry |= {"item_ms": length_ms, "sent_ms": timeline.sent_ms}
        if refused is None:
            log.info("%s is truncated at %d of %s ms: %s", item_id, end_ms, length_ms, _last(words))
            self._write(now, "truncate", ok=True, **entry, heard=words)
        else:
            log.info("%s is not truncated at %d ms: %s", item_id, end_ms, refused.message)
            self._write(now, "truncate", ok=False, **entry, error=refused.message)

    def created(self, now: float, item: Item, previous: str | None) -> None:
        """Note an item that the client put in."""
        log.info("%s is put in by the client, after %s", item.id, previous)
        self._write(now, "create", previous_item_id=previous, **_told(item))

    def holds(self, now: float, items: Sequence[Item]) -> None:
        """Write down what the conversation holds, because somebody asks."""
        self._write(now, "conversation", items=[_told(item) for item in items])

    def deleted(self, now: float, item: Item) -> None:
        """Note a delete."""
        log.info("%s is deleted", item.id)
        sent_ms = item.timeline.sent_ms if item.timeline else None
        self._write(now, "delete", item_id=item.id, sent_ms=sent_ms)

    def believes(self, now: float, spoken: Spoken) -> None:
        """Note what of an interrupted reply is taken for heard, now that the next one is made."""
        heard = spoken.heard()
        last = spoken.last_heard()
        log.info("believes that of %s was heard: %s", spoken.response_id, _last(heard))
        self._write(
            now,
            "interruption",
            response_id=spoken.response_id,
            item_id=last[0].id if last else None,
            audio_end_ms=last[1] if last else 0,
            heard=heard,
        )

    def _write(self, now: float, kind: str, **fields: Any) -> None:
        self._journal({"t_s": round(now, 3), "session": self._session_id, "kind": kind, **fields})


def _told(item: Item) -> dict[str, Any]:
    """Give an item in a few words: of what is spoken, the transcript, and how long it is."""
    told = {k: v for k, v in item.wire().items() if k not in ("object", "content")}
    parts = [part.get("text") or part.get("transcript") for part in item.content or ()]
    if item.content is not None:
        told["text"] = " ".join(part for part in parts if part)
    if item.audio:
        told["audio_ms"] = len(item.audio) // 2 * 1000 // RATE
    elif item.timeline is not None:
        told["audio_ms"] = item.timeline.length_ms
    return told


def _last(words: str) -> str:
    return f"“… {' '.join(words.split()[-5:])}”" if words else "nothing"
