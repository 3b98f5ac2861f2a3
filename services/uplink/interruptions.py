"""The interruptions: for each one, uplink cancels, waits for a report, and tells the server.

``Reports`` decides what the server is told, and ``Flushes`` remembers what the server knows. This
module joins the two with the time: playback's report of a flush may come late, or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from services.uplink import requests
from services.uplink.flushes import Flushes
from services.uplink.reports import Reports, summary
from shared import messages
from shared.owner import Owner

#: How long uplink waits for playback's report of a flush, s. Playback reports within one buffer of
#: the device (some 5 ms). A playback that has not reported after 0.5 s does not run.
REPORT_S = 0.5
#: How many responses that were cancelled are remembered: as many as a flush can name.
REMEMBERED = 64


class Interruptions:
    """Tells the server once about each interruption.

    ``send`` sends a request to the server, and ``open_session`` returns the session that gets the
    request, 0 if none is open. ``told`` is called when the server knows how much was heard at a
    flush. ``server_cancels``: see ``Reports``.
    """

    def __init__(
        self,
        stage: Owner,
        send: Callable[[bytes], None],
        told: Callable[[], None],
        open_session: Callable[[], int],
        *,
        server_cancels: bool,
    ) -> None:
        self._stage = stage
        self._send = send
        self._told = told
        self._open_session = open_session
        self._reports = Reports(server_cancels=server_cancels)
        self._flushes = Flushes()
        self._playhead: messages.Heard | None = None  # playback's newest
        # The cut items (id, content index) that uplink reports by itself after REPORT_S, unless
        # their flush report comes before.
        self._unreported: frozenset[tuple[str, int]] = frozenset()
        self._cancelled: deque[str] = deque(maxlen=REMEMBERED)  # ids of responses

    def transcript(self, transcript: messages.Transcript) -> None:
        """Take the words of an item."""
        self._reports.transcript(transcript)

    def reply_state(self, state: messages.ReplyState) -> None:
        """Take what the server confirmed, and delete items that no flush ends."""
        for request in self._reports.reply_state(state):
            self._send_to(state.session, request)
        self._look_for_unreported()

    def flush(self, flush: messages.Flush) -> None:
        """Cancel the responses that the server does not cancel, and wait for playback's report."""
        cancelled = self._reports.cancels(flush)
        self._cancel(flush.session, cancelled)
        if self._flushes.add(flush, cancelled):
            self._stage.after(REPORT_S, lambda: self._give_up(flush.generation))
        if overdue := self._flushes.overdue():
            self._give_up(overdue)

    def heard(self, heard: messages.Heard) -> None:
        """Take playback's newest playhead."""
        self._reports.heard(heard)
        self._playhead = heard
        self._look_for_unreported()

    def flush_report(self, flush_report: messages.FlushReport) -> None:
        """Tell the server how far the items of a flush were heard, and publish the record, once."""
        if self._flushes.reported(flush_report.generation):
            return
        self._tell(flush_report)

    def reported(self, generation: int) -> bool:
        """Return whether the server knows the outcome of a flush."""
        return self._flushes.reported(generation)

    def report_unreported(self) -> None:
        """Tell the server now about the items that wait for a flush report."""
        session, heard = self._open_session(), self._playhead
        waited, self._unreported = self._unreported, frozenset()
        if not session or heard is None:
            return
        items = [
            item
            for item in self._reports.unreported(heard)
            if (item.item_id, item.content_index) in waited
        ]
        if items:
            report, under_way = self._reports.late_report(heard, session, items)
            to_cancel = [each for each in under_way if each not in self._cancelled]
            self._cancel(session, to_cancel)
            self._tell(report, to_cancel)

    def _look_for_unreported(self) -> None:
        """Wait for the report of items that playback says were cut, and then do without it.

        While downlink consumes ``report.flush``, nothing is held for an uplink that is away. So an
        uplink that was away learns from the states which items were cut, and the states come in any
        order.
        """
        if self._unreported or self._playhead is None:
            return
        items = self._reports.unreported(self._playhead)
        self._unreported = frozenset((i.item_id, i.content_index) for i in items)
        if waited := self._unreported:
            self._stage.after(REPORT_S, lambda: self._report_late(waited))

    def _report_late(self, waited: frozenset[tuple[str, int]]) -> None:
        if self._unreported is waited:
            self.report_unreported()

    def _tell(self, flush_report: messages.FlushReport, cancelled: Sequence[str] = ()) -> None:
        """Tell the server how far items were heard, and publish the record."""
        waiting = self._flushes.mark_reported(flush_report.generation)
        cancelled = [*cancelled, *(waiting.cancelled if waiting else [])]
        counted = waiting.counted if waiting else set()
        sent, record = self._reports.flush_report(
            flush_report, cancelled, counted, self._open_session()
        )
        for request in sent:
            self._send(request)
        self._told()
        if record.reports or cancelled:
            self._stage.publish(record)
            self._stage.log.info("%s", summary(record))

    def _give_up(self, generation: int) -> None:
        """Report a flush without playback's report: with the playhead from before the flush."""
        flush = self._flushes.waiting(generation)
        if flush is not None:
            self._stage.count(
                "unanswered_flushes",
                warning="playback did not answer a flush: the server is told what was heard before",
            )
            self.flush_report(self._reports.without_report(flush))

    def _cancel(self, session: int, response_ids: Sequence[str]) -> None:
        self._cancelled += response_ids
        for response_id in response_ids:
            self._send_to(session, requests.cancel(response_id))

    def _send_to(self, session: int, request: bytes) -> None:
        """Send a request if this session is open: no other one has the item or the response."""
        if session == self._open_session():
            self._send(request)
