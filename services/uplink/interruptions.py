"""The interruptions: what uplink cancels, waits for, and tells the server about each of them.

``Reports`` decides what the server is told, and ``Flushes`` remembers what it knows. This module
joins the two with the time: playback's report of a flush may come late, or never.
"""

from __future__ import annotations

from collections.abc import Callable

from services.uplink import requests
from services.uplink.flushes import Flushes
from services.uplink.reports import Reports, summary
from shared import messages
from shared.owner import Owner

#: How long uplink waits for playback's report of a flush, s. Playback reports within one device
#: buffer, some 10 ms; a playback that has not done so by now does not run.
REPORT_S = 0.5


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
        self._playback_known = False  # whether playback has reported how far anything was heard

    def transcript(self, transcript: messages.Transcript) -> None:
        """Take the words of an item."""
        self._reports.transcript(transcript)

    def reply_state(self, state: messages.ReplyState) -> None:
        """Take what the server confirmed, and delete items that no flush ends."""
        for request in self._reports.reply_state(state):
            self._send_to(state.session, request)

    def flush(self, flush: messages.Flush) -> None:
        """Cancel the responses that the server does not cancel, and wait for playback's report."""
        cancelled = self._reports.cancels(flush)
        for response_id in cancelled:
            self._send_to(flush.session, requests.cancel(response_id))
        if self._flushes.add(flush, cancelled):
            self._stage.after(REPORT_S, lambda: self._give_up(flush.generation))
        if overdue := self._flushes.overdue():
            self._give_up(overdue)

    def heard(self, heard: messages.Heard) -> None:
        """Take how far items were heard."""
        self._reports.heard(heard)
        if not self._playback_known:
            # The uplink before this one may have died before it reported an interruption.
            self._playback_known = True
            self._stage.after(REPORT_S, lambda: self._report_unreported(heard))

    def flush_report(self, flush_report: messages.FlushReport) -> None:
        """Tell the server how far the items of a flush were heard, and publish the record, once."""
        if self._flushes.reported(flush_report.generation):
            return
        waiting = self._flushes.report(flush_report.generation)
        cancelled = waiting.cancelled if waiting else []
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

    def reported(self, generation: int) -> bool:
        """Return whether the server knows the outcome of a flush."""
        return self._flushes.reported(generation)

    def _give_up(self, generation: int) -> None:
        """Report a flush without playback's report: with what was heard before the flush."""
        flush = self._flushes.waiting(generation)
        if flush is not None:
            self._stage.count(
                "unanswered_flushes",
                warning="playback did not answer a flush: the server is told what was heard before",
            )
            self.flush_report(self._reports.unanswered(flush))

    def _send_to(self, session: int, request: bytes) -> None:
        """Send a request if this session is open: no other one has the item or the response."""
        if session == self._open_session():
            self._send(request)

    def _report_unreported(self, heard: messages.Heard) -> None:
        session = self._open_session()
        unreported = self._reports.unreported(heard, session) if session else None
        if unreported is not None:
            self.flush_report(unreported)
