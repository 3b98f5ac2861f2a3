"""Outputs of function calls, notices and approvals that the server still has to get. Pure.

Each call gets one output. The output is sent again only to a new session that lacks it: a
connection can be lost after uplink has sent an output, and before the server had it. A call that
tools has not taken, or no longer lists, gets an output that says so, so that the model does not
wait for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.uplink import requests
from shared import messages
from shared.oldest import drop_oldest
from shared.realtime.event_ids import OUTPUTS

MS = 1_000_000
#: A call is lost if tools has not listed it for 3 s: tools repeats its list every second.
LOST_NS = 3000 * MS
#: How many outputs are kept until the history has them, and how many calls are remembered.
KEPT, REMEMBERED = 64, 512
LOST = (
    "Error: the function could not be run, or was lost: the process that runs functions is not"
    " running, or was restarted. It is not known whether the function had an effect."
)
#: The notice to the model about a call that was lost after a person approved it with a button.
LOST_APPROVED = "The person has approved {}. " + LOST


@dataclass
class _Kept:
    """Requests to be sent, and the last session that they were sent in."""

    requests: list[bytes]
    session: int = 0


@dataclass
class CallOutputs:
    """The calls without an output, and what waits to be sent. Times are ns of CLOCK_MONOTONIC."""

    _waiting: dict[str, int] = field(default_factory=dict)  # when each call was last heard of
    # The calls that have waited for an approval, and whether each has returned since.
    _waited_for_approval: OrderedDict[str, bool] = field(default_factory=OrderedDict)
    # The calls that a person approved with a button, so that they run although they have an output:
    # when each was last heard of, and what it is.
    _approved: dict[str, tuple[int, str]] = field(default_factory=dict)
    _finished: OrderedDict[str, None] = field(default_factory=OrderedDict)  # calls with an output
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)  # by the id of its item
    _running: OrderedDict[str, int] = field(default_factory=OrderedDict)  # since when each runs
    _filled: set[str] = field(default_factory=set)  # calls for which the assistant said a line

    def history(self, turns: Iterable[messages.HistoryTurn], now_ns: int) -> None:
        """Take the conversation: it has the calls, and the outputs that the server has."""
        turns = list(turns)
        done = {turn.call_id for turn in turns if turn.kind == "function_call_output"}
        for call_id in done:
            self._kept.pop(requests.output_id(call_id), None)
        calls = [t.call_id for t in turns if t.kind == "function_call" and t.told]
        self._waiting = {
            call_id: self._waiting.get(call_id, now_ns)
            for call_id in calls
            if call_id not in done and call_id not in self._finished
        }

    def listed(self, state: messages.ToolState, now_ns: int) -> None:
        """Take the calls that tools has taken and not answered."""
        for call in state.calls:
            if call.call_id in self._waiting:
                self._waiting[call.call_id] = now_ns
            elif call.state == "asking":
                self._waited_for_approval.setdefault(call.call_id, False)
                drop_oldest(self._waited_for_approval, REMEMBERED)
            elif self._waited_for_approval.get(call.call_id) is False:
                self._approved[call.call_id] = now_ns, call.summary or call.name
        running = [c.call_id for c in state.calls if c.state == "running"]
        self._running = OrderedDict((c, self._running.get(c, now_ns)) for c in running)
        self._filled &= set(running)

    def result(self, result: messages.ToolResult, output: messages.ToolOutput, key: str) -> bool:
        """Take what a function returned. Return False if the call has an output already.

        ``key`` identifies the message; a notice has no other name.
        """
        match result.what:
            case "output" | "model_only":
                return self._finish(result.call_id, output, result.name)
            case "outcome":
                self._approved.pop(result.call_id, None)
                if result.call_id in self._waited_for_approval:
                    # The bus may bring an older state after it.
                    self._waited_for_approval[result.call_id] = True
            case "approval" if result.server:  # an approval that the Realtime server waits for
                item_id = requests.output_id(result.call_id)
                approval = requests.approval(item_id, result.call_id, approve=result.ok)
                self._keep(item_id, [approval])
            case "notice":
                item_id = requests.notice_id(key)
                pictures = [requests.picture(image, result.name) for image in output.images]
                self._keep(item_id, [*pictures, requests.notice(item_id, output.text)])
        return True

    def to_send(self, session: int, now_ns: int) -> list[bytes]:
        """Return the requests that the session lacks, and count them as sent."""
        for call_id, heard_ns in list(self._waiting.items()):
            if now_ns - heard_ns >= LOST_NS:
                self._finish(call_id, messages.ToolOutput(LOST), "")
        for call_id, (heard_ns, summary) in list(self._approved.items()):
            if now_ns - heard_ns >= LOST_NS:
                del self._approved[call_id]
                item_id = requests.notice_id(call_id)
                self._keep(item_id, [requests.notice(item_id, LOST_APPROVED.format(summary))])
        sent: list[bytes] = []
        for item_id, kept in list(self._kept.items()):
            if kept.session != session:
                kept.session = session
                sent += kept.requests
            if not item_id.startswith(OUTPUTS):
                del self._kept[item_id]  # The history has it, or nobody needs it twice.
        return sent

    def filler(self, after_ns: int, now_ns: int) -> str:
        """Return a call that has run for ``after_ns`` without a spoken line about it, or ""."""
        for call_id, since_ns in self._running.items():
            if now_ns - since_ns >= after_ns and call_id not in self._filled:
                self._filled.add(call_id)
                return call_id
        return ""

    def busy(self) -> bool:
        """Whether the outputs to send can change by the passing of time alone."""
        return bool(self._waiting or self._approved or self._running)

    def _finish(self, call_id: str, output: messages.ToolOutput, name: str) -> bool:
        if not call_id or call_id in self._finished:
            return False
        self._finished[call_id] = None
        drop_oldest(self._finished, REMEMBERED)
        self._waiting.pop(call_id, None)
        item_id = requests.output_id(call_id)
        pictures = [requests.picture(image, name) for image in output.images]
        # The pictures first: downlink asks for an answer when the server has the output.
        self._keep(item_id, [*pictures, requests.output(item_id, call_id, output.text)])
        return True

    def _keep(self, item_id: str, events: list[bytes]) -> None:
        self._kept[item_id] = _Kept(events)
        drop_oldest(self._kept, KEPT)
