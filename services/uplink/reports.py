"""What the server is told of an interruption: how far each item was heard.

Pure: fed with what downlink and playback say, it gives the requests to send and the record to keep.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import Literal

from services.uplink import requests
from shared import messages
from shared.audio.pcm import samples_to_ms
from shared.realtime import words

#: The server's item can be about 85 ms shorter than the audio it sent (observed on the live
#: service): a truncation past its end is an error, so what is this near to the end counts as heard
#: to the end.
MARGIN_MS = 100
REMEMBERED = 256
#: Texts are long, with the places of their words, and needed until the next interruption.
REMEMBERED_TEXTS = 32


class Reports:
    """Decides, for each item of an interrupted reply and once, what the server is told.

    ``server_cancels``: the server itself cancels what it is generating when it hears speech.
    """

    def __init__(self, *, server_cancels: bool) -> None:
        self._server_cancels = server_cancels
        self._reported: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._texts: OrderedDict[str, messages.Transcript] = OrderedDict()
        self._heard: OrderedDict[tuple[str, int], int] = OrderedDict()  # samples, at least
        self._sessions: OrderedDict[tuple[str, int], int] = OrderedDict()  # where items came from

    def transcript(self, transcript: messages.Transcript) -> None:
        """Learn what is said in an item."""
        self._texts[transcript.item_id] = transcript
        while len(self._texts) > REMEMBERED_TEXTS:
            self._texts.popitem(last=False)

    def state(self, state: messages.ReplyState) -> list[bytes]:
        """Learn what the server has confirmed; give what to send for items no flush has met."""
        sent: list[bytes] = []
        for item in state.items:
            key = (item.item_id, item.content_index)
            self._sessions[key] = state.session
            unheard = item.late and item.done and item.received > 0 and not item.out_of_band
            if unheard and not item.truncated and key not in self._reported:
                sent.append(requests.delete(item.item_id))
            if unheard or item.truncated:
                self._mark_reported(key)
        while len(self._sessions) > REMEMBERED:
            self._sessions.popitem(last=False)
        return sent

    def heard(self, heard: messages.Heard) -> None:
        """Learn how far items were heard, in case playback cannot say so when it matters."""
        for item in heard.items:
            key = (item.item_id, item.content_index)
            self._heard[key] = max(item.heard, self._heard.get(key, 0))
        while len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)

    def missed(self, heard: messages.Heard, session: int) -> messages.FlushReport | None:
        """Give what was cut before this process began, and the server was not told of.

        ``heard`` is what playback said first, ``session`` the connection there is. The uplink
        before this one may have told the server and died; what the server has confirmed since,
        downlink's state tells.
        """
        items = [
            item
            for item in heard.items
            if item.cut and not item.whole and self._is_open((item.item_id, item.content_index))
        ]
        if not items:
            return None
        return messages.FlushReport(
            generation=heard.generation,
            session=session,
            cause="told late",
            event_ns=0,
            flush_ns=0,
            received_ns=0,
            silent_ns=0,
            latency_ns=0,
            items=items,
        )

    def _is_open(self, key: tuple[str, int]) -> bool:
        return key in self._sessions and key not in self._reported

    def unanswered(self, flush: messages.Flush) -> messages.FlushReport:
        """Give what is known of a flush that playback did not answer: what was heard before it."""
        return messages.FlushReport(
            generation=flush.generation,
            session=flush.session,
            cause=flush.cause,
            event_ns=flush.event_ns,
            flush_ns=0,
            received_ns=0,
            silent_ns=0,
            latency_ns=0,
            items=[
                messages.HeardItem(
                    i.item_id,
                    i.content_index,
                    min(self._heard.get((i.item_id, i.content_index), 0), i.received),
                    i.received,
                    i.done,
                )
                for i in flush.received
            ],
        )

    def cancels(self, flush: messages.Flush) -> list[str]:
        """Give the responses to cancel by id when a flush comes."""
        if flush.cause == "speech_started" and self._server_cancels:
            return []
        return list(flush.active)

    def flush_report(
        self,
        flush_report: messages.FlushReport,
        cancelled: Sequence[str] = (),
        known: Container[tuple[str, int]] | None = None,
    ) -> tuple[list[bytes], messages.Interruption]:
        """Give what to send for a flush that playback has carried out, and its record.

        ``known``: the items that the flush told of; None: all. Any other one was begun by a
        downlink that is no more: there may be more of it than anybody knows.
        """
        sent: list[bytes] = []
        reports: list[messages.Report] = []
        # a server that cancels by itself has sent all there will be of what it was saying
        final = flush_report.cause == "speech_started" and self._server_cancels
        for item in flush_report.items:
            key = (item.item_id, item.content_index)
            if self._sessions.get(key, flush_report.session) != flush_report.session:
                # an older session's, whose words this one was given: they are put right there
                self._mark_reported(key)
            report = self._report(
                item, final=item.done or (final and (known is None or key in known))
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

    def _report(self, item: messages.HeardItem, *, final: bool) -> messages.Report:
        key = (item.item_id, item.content_index)
        # a playback that was started anew knows only what it played itself
        samples = min(item.received, max(item.heard, self._heard.get(key, 0)))
        heard, received = samples_to_ms(samples), samples_to_ms(item.received)
        action: Literal["truncate", "delete", "none"] = "none"
        end = 0
        near = samples > 0 and received - heard <= MARGIN_MS
        to_its_end = final and near and not item.broken
        if key not in self._reported and not (item.whole or to_its_end):
            end = max(0, min(heard, received - MARGIN_MS))
            # less than a ms, or less than what the server may lack, is nothing that can be kept
            action = "truncate" if end else "delete"
        self._mark_reported(key)
        said = ""
        if (text := self._texts.get(item.item_id)) is not None:
            said, _ = words.split(text.text, text.marks, samples, item.received, done=item.done)
        return messages.Report(item.item_id, item.content_index, heard, received, action, end, said)

    def _mark_reported(self, key: tuple[str, int]) -> None:
        self._reported[key] = None
        while len(self._reported) > REMEMBERED:
            self._reported.popitem(last=False)
