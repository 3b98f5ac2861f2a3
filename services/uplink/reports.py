"""Reports of an interruption to the server: how far each item was heard. Pure.

``Reports`` is fed with what downlink and playback publish, and returns the requests to send and the
record to publish.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import Literal

from services.uplink import requests
from shared import messages
from shared.audio.pcm import samples_to_ms
from shared.oldest import drop_oldest
from shared.realtime import words

#: The server's item can be about 85 ms shorter than the audio that it sent (measured with the live
#: service), and a truncation past the item's end is an error. So an item that was heard to within
#: 100 ms of its end counts as heard to its end.
MARGIN_MS = 100
#: How many items are remembered.
REMEMBERED = 256
#: How many transcripts are remembered. They are long, and needed until the next interruption only.
REMEMBERED_TEXTS = 32

_Key = tuple[str, int]  # item id and content index


class Reports:
    """Decides what the server is told about each item of an interrupted reply, once.

    ``server_cancels``: the server cancels a response by itself when it hears speech.
    """

    def __init__(self, *, server_cancels: bool) -> None:
        self._server_cancels = server_cancels
        self._reported: OrderedDict[_Key, None] = OrderedDict()
        self._texts: OrderedDict[str, messages.Transcript] = OrderedDict()
        self._heard: OrderedDict[_Key, int] = OrderedDict()  # samples, at least
        self._sessions: OrderedDict[_Key, int] = OrderedDict()  # the session of each item
        self._state: messages.ReplyState | None = None  # downlink's newest

    # the messages of downlink and playback

    def transcript(self, transcript: messages.Transcript) -> None:
        """Take the words of an item."""
        self._texts[transcript.item_id] = transcript
        drop_oldest(self._texts, REMEMBERED_TEXTS)

    def reply_state(self, state: messages.ReplyState) -> list[bytes]:
        """Note what the server confirmed. Return the requests for items that no flush ends.

        An item that began after its response was interrupted is never played: it is deleted.
        """
        sent: list[bytes] = []
        self._state = state
        for item in state.items:
            key = (item.item_id, item.content_index)
            self._sessions[key] = state.session
            unheard = item.late and item.done and item.received > 0 and not item.out_of_band
            if unheard and not item.truncated and key not in self._reported:
                sent.append(requests.delete(item.item_id))
            if unheard or item.truncated:
                self._mark_reported(key)
        drop_oldest(self._sessions, REMEMBERED)
        return sent

    def heard(self, heard: messages.Heard) -> None:
        """Note how far items were heard, in case playback cannot report it at a flush."""
        for item in heard.items:
            key = (item.item_id, item.content_index)
            self._heard[key] = max(item.heard, self._heard.get(key, 0))
        drop_oldest(self._heard, REMEMBERED)

    # reports that uplink makes in place of playback's

    def unreported(self, heard: messages.Heard) -> list[messages.HeardItem]:
        """Return the items that a flush has ended and that were not reported to the server.

        Their flush report went to an uplink that is gone, or got lost. The uplink before this one
        may have told the server: downlink's state tells what the server confirmed.
        """
        return [
            item
            for item in heard.items
            if item.cut
            and not item.whole
            and self._is_unreported((item.item_id, item.content_index))
        ]

    def late_report(
        self, heard: messages.Heard, session: int, items: Sequence[messages.HeardItem]
    ) -> tuple[messages.FlushReport, list[str]]:
        """Return a report about unreported items, and the ids of their responses to cancel.

        ``session`` is the open session.
        """
        state, keys = self._state, {(i.item_id, i.content_index) for i in items}
        under_way: list[str] = []
        if state is not None and state.session == session:
            ended = {i.response_id for i in state.items if (i.item_id, i.content_index) in keys}
            under_way = [response_id for response_id in state.active if response_id in ended]
        report = _report_without_times(heard.generation, session, "told late", list(items))
        return report, under_way

    def without_report(self, flush: messages.Flush) -> messages.FlushReport:
        """Return a report for a flush that playback did not report, by the playhead before it."""
        items = [
            messages.HeardItem(
                i.item_id,
                i.content_index,
                min(self._heard.get((i.item_id, i.content_index), 0), i.received),
                i.received,
                i.done,
            )
            for i in flush.received
        ]
        return _report_without_times(
            flush.generation, flush.session, flush.cause, items, flush.event_ns
        )

    # what the server is told

    def cancels(self, flush: messages.Flush) -> list[str]:
        """Return the ids of the responses to cancel for a flush."""
        if flush.cause == "speech_started" and self._server_cancels:
            return []
        return list(flush.active)

    def flush_report(
        self,
        flush_report: messages.FlushReport,
        cancelled: Sequence[str] = (),
        counted: Container[_Key] | None = None,
        open_session: int | None = None,
    ) -> tuple[list[bytes], messages.Interruption]:
        """Return the requests for a flush that playback reported, and the record of the flush.

        ``counted``: the items of which downlink knows how much came; None: all. An earlier downlink
        began the others: how long they are is not known. ``open_session``: the session that gets
        the requests; None: the report's. A report can come after link has opened another session,
        which has none of the items.
        """
        if open_session is None:
            open_session = flush_report.session
        sent: list[bytes] = []
        reports: list[messages.ItemReport] = []
        # A server that cancels by itself sends nothing more of an item after it heard speech.
        final = flush_report.cause == "speech_started" and self._server_cancels
        for item in flush_report.items:
            key = (item.item_id, item.content_index)
            if self._sessions.get(key, flush_report.session) != open_session:
                # The item is another session's. The open session has its words as text, which
                # are corrected with the next history.
                self._mark_reported(key)
            report = self._report(
                item, final=item.done or (final and (counted is None or key in counted))
            )
            reports.append(report)
            if report.action == "truncate":
                sent.append(
                    requests.truncate(item.item_id, item.content_index, report.audio_end_ms)
                )
            elif report.action == "delete":
                sent.append(requests.delete(item.item_id))
        times = {
            name: getattr(flush_report, name) for name in messages.FlushTimes.__struct_fields__
        }
        return sent, messages.Interruption(**times, reports=reports, cancelled=list(cancelled))

    def _report(self, item: messages.HeardItem, *, final: bool) -> messages.ItemReport:
        key = (item.item_id, item.content_index)
        # A restarted playback reports only what it played itself.
        samples = min(item.received, max(item.heard, self._heard.get(key, 0)))
        heard, received = samples_to_ms(samples), samples_to_ms(item.received)
        action: Literal["truncate", "delete", "none"] = "none"
        end = 0
        near = samples > 0 and received - heard <= MARGIN_MS
        to_its_end = final and near and not item.broken
        if key not in self._reported and not (item.whole or to_its_end):
            end = max(0, min(heard, received - MARGIN_MS))
            # Nothing of the item can be kept if less than 1 ms was heard, or if the server may lack
            # all that came (MARGIN_MS).
            action = "truncate" if end else "delete"
        self._mark_reported(key)
        said = ""
        if (text := self._texts.get(item.item_id)) is not None:
            said, _ = words.split(text.text, text.marks, samples, item.received, done=item.done)
        return messages.ItemReport(
            item.item_id, item.content_index, heard, received, action, end, said
        )

    def _mark_reported(self, key: _Key) -> None:
        self._reported[key] = None
        drop_oldest(self._reported, REMEMBERED)

    def _is_unreported(self, key: _Key) -> bool:
        return key in self._sessions and key not in self._reported


def summary(record: messages.Interruption) -> str:
    """Return one line about an interruption, for the log."""
    heard = [
        f"heard {r.heard_ms / 1000:.2f} of {r.received_ms / 1000:.2f} s ({r.action})"
        for r in record.reports
    ] or [f"cancelled {len(record.cancelled)} responses"]
    what = "not heard to its end" if record.cause == "abandoned" else "interrupted"
    return f"{what}: {', '.join(heard)}"


def _report_without_times(
    generation: int,
    session: int,
    cause: str,
    items: list[messages.HeardItem],
    event_ns: int = 0,
) -> messages.FlushReport:
    """Return a report with the heard part of each item, and without the time of the silence."""
    return messages.FlushReport(
        generation=generation,
        session=session,
        cause=cause,
        event_ns=event_ns,
        flush_ns=0,
        received_ns=0,
        silent_ns=0,
        latency_ns=0,
        items=items,
    )
