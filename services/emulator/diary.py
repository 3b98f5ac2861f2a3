"""The log of a session, for people, and its journal, for tests and benchmarks.

The journal says what the server believes: for each truncate, the item's real length; when it
answers an interruption, the words that it takes as heard. ``t_s`` is a time of the monotonic clock,
in seconds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from services.emulator import plans
from services.emulator.clips import RATE
from services.emulator.conversation import Item
from services.emulator.replies import Spoken
from services.emulator.responses import Response
from services.emulator.schema import Refused

log = logging.getLogger("emulator")

Journal = Callable[[dict[str, Any]], None]


class Diary:
    """Writes the log lines and the journal entries of one session."""

    def __init__(self, session_id: str, journal: Journal) -> None:
        self._session_id = session_id
        self._journal = journal
        self._refused: Counter[str | None] = Counter()

    def updated(self, names: Sequence[str]) -> None:
        """Log a session.update and the fields that it set."""
        log.info("%s is updated: %s", self._session_id, ", ".join(names) or "nothing")

    def speech_started(self, start: int) -> None:
        """Log where a turn begins in the appended audio, in samples."""
        log.info("speech starts, at %.2f s of the appended audio", start / RATE)

    def speech_stopped(self, audio: bytes) -> None:
        """Log the end of a turn and its length."""
        log.info("speech ends, after %.2f s", len(audio) / 2 / RATE)

    def interrupted_while_playing(self, spoken: Spoken) -> None:
        """Log that the person speaks while a reply plays that was sent in full."""
        log.info("%s is interrupted while it plays; all of it was sent", spoken.response_id)

    def cancelled(self, response: Response, reason: str) -> None:
        """Log that a response is cancelled."""
        log.info("%s is cancelled (%s), %d ms sent", response.id, reason, response.sent_ms)

    def done(self, response: Response) -> None:
        """Log a response.done."""
        log.info("%s is %s, %d ms sent", response.id, response.status, response.sent_ms)

    def idle(self, timeout_ms: int) -> None:
        """Log an idle timeout."""
        log.info("nobody has spoken for %d ms", timeout_ms)

    def failed(self, error: Exception) -> None:
        """Log why a response fails."""
        log.error("%s", error)

    def refused(self, refused: Refused) -> None:
        """Log an error event: of each code the first, the tenth, the hundredth and so on."""
        self._refused[refused.code] += 1
        times = self._refused[refused.code]
        if times in (1, 10, 100, 1000, 10_000, 100_000):
            count = f" (for the {times}th time)" if times > 1 else ""
            log.info("error %s%s: %s", refused.code, count, refused.message[:200])

    def replies(self, now: float, response: Response, plan: Sequence[plans.Part]) -> None:
        """Log and journal the items of a response that begins."""
        where = "out of band " if response.out_of_band else ""
        for part in plan:
            entry: dict[str, Any] = {"response_id": response.id}
            entry["out_of_band"] = response.out_of_band
            if isinstance(part, plans.Say):
                said = part.utterance
                log.info(
                    "%s %ssays %s, %.1f s", response.id, where, said.label, said.samples / RATE
                )
                entry |= {"says": said.label, "ms": said.samples * 1000 // RATE}
                entry["transcript"] = said.transcript
            elif isinstance(part, plans.Write):
                log.info("%s %swrites %d characters", response.id, where, len(part.text))
                entry["writes"] = part.text
            elif isinstance(part, plans.Call):
                log.info("%s %scalls %s", response.id, where, part.name)
                entry |= {"calls": part.name, "arguments": part.arguments}
            elif isinstance(part, plans.McpCall):
                log.info("%s %scalls %s at %s", response.id, where, part.name, part.server_label)
                entry |= {"calls": part.name, "arguments": part.arguments}
                entry["server_label"] = part.server_label
            elif isinstance(part, plans.McpAsk):
                log.info("%s asks for an approval of %s", response.id, part.call.name)
                entry["asks"] = part.call.name
            self._write(now, "reply", **entry)

    def mcp_listed(self, now: float, label: str, item: Item, failure: str | None) -> None:
        """Log and journal the functions of an MCP server, or why there are none."""
        names = [tool["name"] for tool in item.head["tools"]]
        log.info("MCP server %s has %s", label, failure or ", ".join(names) or "no functions")
        self._write(now, "mcp_list", server_label=label, names=names, failure=failure)

    def mcp_called(self, now: float, item: Item) -> None:
        """Log and journal the outcome of a call of a function on an MCP server."""
        log.info("%s has ended%s", item.id, " with an error" if item.head["error"] else "")
        self._write(now, "mcp_call", **item.head)

    def truncated(
        self,
        now: float,
        event: dict[str, Any],
        item: Item | None,
        length_ms: int | None,
        refused: Refused | None,
    ) -> None:
        """Log and journal a truncate. ``length_ms`` is the item's length before the truncate."""
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
        """Log and journal an item that the client created."""
        log.info("%s is created by the client, after %s", item.id, previous)
        self._write(now, "create", previous_item_id=previous, **_summary(item))

    def conversation(self, now: float, items: Sequence[Item]) -> None:
        """Journal the content of the conversation."""
        self._write(now, "conversation", items=[_summary(item) for item in items])

    def deleted(self, now: float, item: Item) -> None:
        """Log and journal a delete."""
        log.info("%s is deleted", item.id)
        sent_ms = item.timeline.sent_ms if item.timeline else None
        self._write(now, "delete", item_id=item.id, sent_ms=sent_ms)

    def interruption(self, now: float, spoken: Spoken) -> None:
        """Log and journal which words of an interrupted reply the server believes were heard."""
        heard = spoken.heard()
        last = spoken.last_heard()
        words = _last(heard)
        log.info("the server takes as the last words heard of %s: %s", spoken.response_id, words)
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


def _summary(item: Item) -> dict[str, Any]:
    """Return an item's fields, with its text or transcript and the length of its audio."""
    summary = {k: v for k, v in item.wire().items() if k not in ("object", "content")}
    parts = [part.get("text") or part.get("transcript") for part in item.content or ()]
    if item.content is not None:
        summary["text"] = " ".join(part for part in parts if part)
    if item.audio:
        summary["audio_ms"] = len(item.audio) // 2 * 1000 // RATE
    elif item.timeline is not None:
        summary["audio_ms"] = item.timeline.length_ms
    return summary


def _last(words: str) -> str:
    """Return the last five words, for the log."""
    return f"“… {' '.join(words.split()[-5:])}”" if words else "nothing"
