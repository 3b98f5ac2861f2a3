"""The model's function calls: which are run, and when their answer may be asked for. Pure.

A call is run once its item is complete, also if its response was interrupted. When the server has
the outputs of all calls of a response, the model has to be asked for an answer: ``ready`` says so.
A response that begins later for another reason answers them as well.

The server can also run functions itself, on MCP servers that it is connected to (``session.mcp``).
Downlink only reports these calls to tools, which shows them. No server answers them by itself, so
they too have to be answered when they have ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Literal

from services.downlink import objects
from shared import messages
from shared.oldest import drop_oldest
from shared.realtime.event_ids import NOTICES, OUTPUTS

MS = 1_000_000
#: Some servers do not announce the outputs that a client creates. So a call that tools no longer
#: lists counts as answered after 1 s: tools has published its output, and uplink has sent it.
UNANNOUNCED_NS = 1000 * MS
#: How many calls are remembered as handed on, and how many wait for their output at most.
REMEMBERED, MAX_OPEN = 512, 64


class Calls:
    """The calls of the conversation. All times are ns of CLOCK_MONOTONIC.

    ``cancels``: whether an interruption cancels the calls that run.
    """

    def __init__(self, *, cancels: bool = False) -> None:
        self._cancels = cancels
        # The calls and requests for approval that were handed to tools, and the calls of the server
        # that have ended. Each is handed on once.
        self._seen: OrderedDict[str, None] = OrderedDict()
        # Calls whose arguments are complete, and whose items are not yet, by response.
        self._announced: OrderedDict[str, list[objects.Item]] = OrderedDict()
        self._open: OrderedDict[str, str] = OrderedDict()  # the response of each call that runs
        self._cancelled: set[str] = set()  # open calls that an interruption cancelled
        self._listed: set[str] = set()  # open calls that tools has listed
        self._unlisted_ns: dict[str, int] = {}  # when tools first left out such a call
        # The calls that the server runs itself, each with its response, by the id of the item.
        self._server_calls: OrderedDict[str, tuple[str, objects.Item]] = OrderedDict()
        self._approvals: OrderedDict[str, None] = OrderedDict()  # requests without a reply
        self._have_output: set[str] = set()  # responses that had an output since the last response
        self._answer_asked: set[str] = set()  # those of them for which an answer was asked for
        # When the person began the newest turn of the conversation, and the turn that was the
        # newest one when the last response began.
        self._turn_ns = self._spoke_ns = 0

    def begin_session(self, session: int) -> list[messages.Message]:
        """Begin with a new session. Return the messages that withdraw calls of the last one.

        Calls that the server ran itself, and requests for approvals, ended with that session.
        """
        ended = [*(name for name in self._server_calls if name in self._open), *self._approvals]
        for name in ended:
            self._close(name)
        self._server_calls.clear()
        self._approvals.clear()
        return [
            messages.ToolCall(
                session=session, response_id="", call_id=name, name="", action="cancel"
            )
            for name in ended
        ]

    def person_spoke(self, began_ns: int) -> None:
        """Note that a turn of the person is in the conversation, spoken or written."""
        self._turn_ns = max(self._turn_ns, began_ns)

    # what the server reports

    def announced(self, response_id: str, item: objects.Item) -> None:
        """Note a call whose arguments are complete. Its item may still be cut off."""
        if item.call_id and item.name:
            self._announced.setdefault(response_id, []).append(item)
            drop_oldest(self._announced, MAX_OPEN)

    def complete(
        self, response_id: str, item: objects.Item, session: int
    ) -> messages.ToolCall | None:
        """Note an item that is complete, or was cut off.

        Return the call to run or to have approved; None if there is nothing to do, or if it was
        returned before.
        """
        asks = item.type == "mcp_approval_request"
        call_id = item.id if asks else item.call_id or ""
        whole = item.status in ("completed", None) and bool(call_id and item.name)
        if item.type not in ("function_call", "mcp_approval_request") or not whole:
            return None
        if call_id in self._seen:
            return None
        _remember(self._seen, call_id)
        if asks:
            _remember(self._approvals, call_id)
        else:
            self._run_now(call_id, response_id)
        return messages.ToolCall(
            session=session,
            response_id=response_id,
            call_id=call_id,
            name=(item.name or "")[:512],
            action="ask" if asks else "run",
            server=(item.server_label or "")[:512],
            spoke_ns=self._spoke_ns,
            payload=(item.arguments or "{}").encode()[: messages.MAX_ARGUMENTS],
        )

    def mentioned(self, response_id: str, item: objects.Item) -> None:
        """Take an item, complete or not, of a call that the server runs itself."""
        if item.type != "mcp_call":
            return
        known_response, known = self._server_calls.get(item.id, ("", objects.Item()))
        whole = objects.Item(
            item.id,
            "mcp_call",
            name=item.name or known.name,
            arguments=item.arguments or known.arguments,
            output=item.output or known.output,
            server_label=item.server_label or known.server_label,
            error=item.error or known.error,
        )
        self._server_calls[item.id] = (known_response or response_id, whole)
        drop_oldest(self._server_calls, MAX_OPEN)

    def server_runs(self, item_id: str, session: int) -> messages.ToolCall | None:
        """Note that the server runs a function itself. Return the message for tools, once."""
        if item_id in self._open or item_id in self._seen:
            return None
        response_id, item = self._server_calls.setdefault(item_id, ("", objects.Item(item_id)))
        self._run_now(item_id, response_id or item_id)
        return _server_call("server_runs", session, response_id, item, item.arguments or "{}")

    def server_ran(self, item_id: str, session: int, *, ok: bool) -> messages.ToolCall | None:
        """Note that a function of the server has ended. Return the message for tools, once."""
        if item_id in self._seen:
            return None
        _remember(self._seen, item_id)
        response_id, item = self._server_calls.get(item_id, ("", objects.Item(item_id)))
        self._open.setdefault(item_id, response_id or item_id)
        self._output(item_id)
        said = item.output if ok else objects.mcp_trouble(item)
        return _server_call("server_ran", session, response_id, item, said or "", ok=ok)

    def response_done(self, response_id: str) -> list[objects.Item]:
        """Note that a response ended. Return its calls that had all their arguments."""
        return self._announced.pop(response_id, [])

    def item_added(self, item: objects.Item) -> None:
        """Note an item that is new in the conversation: an output, or a notice.

        An output without the prefix is one that a new session gets with the history.
        """
        if item.id.startswith(OUTPUTS) and item.call_id:
            self._output(item.call_id)
        elif item.type == "mcp_approval_response":
            self._approvals.pop(item.approval_request_id or "", None)
            if item.approve is False:
                self._have_output.add(item.id)
        elif item.id.startswith(NOTICES):
            self._have_output.add(item.id)

    def response_created(self) -> None:
        """Note that a response of the conversation began: it answers the outputs so far.

        An output counts as unanswered while another call of the same response runs.
        """
        self._have_output -= set(self._answerable())
        self._answer_asked.clear()
        self._spoke_ns = self._turn_ns

    def to_cancel(self, cause: str) -> list[messages.Message]:
        """Return the messages that cancel the calls without an output, after a flush."""
        if cause == "abandoned" or not self._cancels:
            return []
        # Nobody wants an answer to them any more.
        self._cancelled |= self._open.keys()
        return [
            messages.ToolCall(
                session=0, response_id=response_id, call_id=call_id, name="", action="cancel"
            )
            for call_id, response_id in self._open.items()
            if call_id not in self._server_calls
        ]

    # what tools reports

    def listed(self, state: messages.ToolState, now_ns: int) -> None:
        """Take the calls that tools has taken and not answered."""
        names = {call.call_id for call in state.calls}
        # A call that waits for an approval has an output, which says so.
        answered = {call.call_id for call in state.calls if call.state == "asking"}
        self._listed |= names & (self._open.keys() - self._server_calls.keys())
        for call_id in self._listed - (names - answered):
            self._unlisted_ns.setdefault(call_id, now_ns)

    # what follows

    def settle(self, now_ns: int) -> None:
        """Count calls as answered whose outputs the server does not announce."""
        for call_id, since_ns in list(self._unlisted_ns.items()):
            if now_ns - since_ns >= UNANNOUNCED_NS:
                self._output(call_id)

    def deadlines_ns(self) -> Iterable[int]:
        """Return the times at which `settle` can have something to do."""
        return [at_ns + UNANNOUNCED_NS for at_ns in self._unlisted_ns.values()]

    def ready(self) -> bool:
        """Whether outputs wait for an answer that was not asked for."""
        return bool(set(self._answerable()) - self._answer_asked)

    def answer_asked(self) -> None:
        """Note that an answer was asked for."""
        self._answer_asked |= set(self._answerable())

    # helpers

    def _run_now(self, call_id: str, response_id: str) -> None:
        self._open[call_id] = response_id
        while len(self._open) > MAX_OPEN:
            self._close(next(iter(self._open)))

    def _answerable(self) -> Iterable[str]:
        """Return the responses that have an output, and of whose calls none runs."""
        running = set(self._open.values())
        return [name for name in self._have_output if name not in running]

    def _output(self, call_id: str) -> None:
        if call_id not in self._cancelled:
            # An output for a call that is not known: an earlier downlink read the call.
            self._have_output.add(self._open.get(call_id, call_id))
        self._close(call_id)

    def _close(self, call_id: str) -> None:
        self._open.pop(call_id, None)
        self._unlisted_ns.pop(call_id, None)
        self._listed.discard(call_id)
        self._cancelled.discard(call_id)


def _server_call(
    action: Literal["server_runs", "server_ran"],
    session: int,
    response_id: str,
    item: objects.Item,
    payload: str,
    *,
    ok: bool = True,
) -> messages.ToolCall:
    return messages.ToolCall(
        session=session,
        response_id=response_id,
        call_id=item.id,
        name=(item.name or "")[:512],
        action=action,
        server=(item.server_label or "")[:512],
        ok=ok,
        payload=payload.encode()[: messages.MAX_ARGUMENTS],
    )


def _remember(known: OrderedDict[str, None], name: str) -> None:
    known[name] = None
    drop_oldest(known, REMEMBERED)
