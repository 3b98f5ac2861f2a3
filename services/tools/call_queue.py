"""The calls: each is run once, some at a time, and some only after a person has approved it. Pure.

A call that needs an approval is answered at once: the model is told to ask the person. The call is
run when the person approves it, by voice (the model then calls ANSWER) or with a button. The model
cannot approve by itself: the person must have spoken since the request, and one turn of the person
approves one call.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from services.tools.offer import Tool
from shared import messages
from shared.oldest import drop_oldest

#: The function by which the model passes on what the person said.
ANSWER = "answer_approval"
#: How many calls are remembered as taken, so that none of them is run twice.
REMEMBERED = 4096
#: The most calls that wait to be run.
MAX_QUEUED = 32
#: The most calls that wait for an approval.
MAX_ASKING = 16
#: The most calls that are listed while the Realtime server runs them itself.
MAX_SERVER_CALLS = 16
#: The longest arguments that a person is shown, characters.
SHOWN = 300

#: The answer to the model if the person has not spoken.
UNHEARD = (
    "the person has not answered yet. Ask whether you may do this one action, and wait for the"
    f" person's words before you call {ANSWER}. Only the person can approve."
)

ANSWER_TOOL = Tool(
    ANSWER,
    "Pass on whether the person approves an action that waits for approval. Call this only after"
    " you have asked the person and the person has answered. Never decide yourself.",
    {
        "type": "object",
        "properties": {
            "number": {"type": "string", "description": "The number of the waiting action."},
            "approved": {"type": "boolean", "description": "Whether the person said yes."},
        },
        "required": ["number", "approved"],
    },
)


@dataclass(frozen=True)
class Job:
    """One call that is to be run."""

    call_id: str
    name: str
    arguments: str
    has_output: bool = False  # the model has an output of this call: what it returns is a notice

    @property
    def summary(self) -> str:
        """The call, for a person."""
        return summary(self.name, self.arguments)


@dataclass(frozen=True)
class PendingApproval:
    """A call that waits for an approval."""

    number: str
    call_id: str
    name: str
    arguments: str
    server: str  # if the Realtime server runs the call: its MCP server's label; else ""
    at_ns: int  # when the model called the function

    @property
    def summary(self) -> str:
        """The call, for a person."""
        return summary(self.name, self.arguments, self.server)


class BadAnswer(ValueError):
    """Raised when an answer to an approval cannot be followed, with the reason."""


class CallQueue:
    """The calls that were taken and have no output yet.

    A call waits to be run, runs, or waits for an approval, or the Realtime server runs it. ``ask``:
    patterns of the names of functions that need an approval.
    """

    def __init__(self, parallel: int, ask: Sequence[str]) -> None:
        self._parallel = parallel
        self._ask = ask
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._queued: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._asking: OrderedDict[str, PendingApproval] = OrderedDict()  # by number
        # The calls that the server runs itself, and since when, ns.
        self._server_calls: OrderedDict[str, tuple[messages.ToolRun, int]] = OrderedDict()
        self._last_number = 0
        self._used_ns = 0  # when the person began the last turn that approved a call

    def take(self, call_id: str) -> bool:
        """Take a call. Return False if it was taken before."""
        if call_id in self._taken:
            return False
        self._taken[call_id] = None
        drop_oldest(self._taken, REMEMBERED)
        return True

    def needs_approval(self, *names: str) -> bool:
        """Return whether a function with these names is run only after a person has approved it."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self._ask)

    def ask(
        self, call_id: str, name: str, arguments: str, server: str = "", at_ns: int = 0
    ) -> PendingApproval:
        """Have a call that the model made at ``at_ns`` wait for an approval."""
        self._last_number += 1
        asking = PendingApproval(str(self._last_number), call_id, name, arguments, server, at_ns)
        self._asking[asking.number] = asking
        drop_oldest(self._asking, MAX_ASKING)
        return asking

    def answered(self, number: str) -> PendingApproval:
        """Return the call with a number, which waits no longer. "": the only one that waits.

        The id of the call is as good as its number. Raises BadAnswer.
        """
        if not self._asking:
            raise BadAnswer("nothing waits for an approval")
        if not number and len(self._asking) == 1:
            number = next(iter(self._asking))
        number = next((a.number for a in self._asking.values() if a.call_id == number), number)
        if number not in self._asking:
            waiting = "; ".join(f"{a.number}: {a.summary}" for a in self._asking.values())
            raise BadAnswer(f"give one of these numbers: {waiting}")
        return self._asking.pop(number)

    def answered_by_voice(self, number: str, spoke_ns: int, *, approved: bool) -> PendingApproval:
        """Return the call whose answer the model passes on. The call waits no longer.

        ``spoke_ns``: when the person began the turn that the model follows. Raises BadAnswer.
        """
        asking = self.answered(number)
        if spoke_ns <= asking.at_ns or (approved and spoke_ns <= self._used_ns):
            self._asking[asking.number] = asking
            raise BadAnswer(UNHEARD)
        if approved:
            self._used_ns = spoke_ns
        return asking

    def server_runs(
        self, call_id: str, name: str, arguments: str, server: str, now_ns: int
    ) -> None:
        """Note that the server runs a function itself."""
        run = _run(call_id, name, "running", arguments, server)
        self._server_calls[call_id] = run, now_ns
        drop_oldest(self._server_calls, MAX_SERVER_CALLS)

    def server_ran(self, call_id: str, now_ns: int) -> tuple[int, str]:
        """Note that a call of the server has ended. Return how long it ran, ms, and its summary."""
        if (known := self._server_calls.pop(call_id, None)) is None:
            return 0, ""
        run, since_ns = known
        return max(0, now_ns - since_ns) // 1_000_000, run.summary

    def withdraw(self, call_id: str) -> messages.ToolRun | None:
        """Forget a call of the server, or its request, whose session has ended. Return it."""
        if (run := self._server_calls.pop(call_id, None)) is not None:
            return run[0]
        for asking in self._asking.values():
            if asking.server and asking.call_id == call_id:
                del self._asking[asking.number]
                return _asks(asking)
        return None

    def queue(self, job: Job) -> bool:
        """Let a call wait until it can be run. Return False if too many wait."""
        if len(self._queued) >= MAX_QUEUED:
            return False
        self._queued.append(job)
        return True

    def start(self) -> list[Job]:
        """Return the calls that are to be run now."""
        started: list[Job] = []
        while self._queued and len(self._running) < self._parallel:
            job = self._queued.popleft()
            self._running[job.call_id] = job
            started.append(job)
        return started

    def cancel(self, call_id: str) -> Job | None:
        """Take a call back that has not started. Return it, or None if it has."""
        for job in self._queued:
            if job.call_id == call_id:
                self._queued.remove(job)
                return job
        return None

    def finish(self, job: Job) -> None:
        """Note that a call has its output."""
        self._running.pop(job.call_id, None)

    def state(self) -> messages.ToolState:
        """Return the state to publish."""
        running = [_run(j.call_id, j.name, "running", j.arguments) for j in self._running.values()]
        queued = [_run(j.call_id, j.name, "queued", j.arguments) for j in self._queued]
        asking = map(_asks, self._asking.values())
        server_calls = (run for run, _ in self._server_calls.values())
        return messages.ToolState(calls=[*running, *queued, *asking, *server_calls][:64])


def summary(name: str, arguments: str, server: str = "") -> str:
    """Return a call for a person: the name, the arguments and the server, if it is not ours."""
    try:
        given: Any = msgspec.json.decode(arguments or "{}")
    except msgspec.MsgspecError:
        given = arguments
    if isinstance(given, dict):
        said = ", ".join(f"{k}={msgspec.json.encode(v).decode()}" for k, v in given.items())
    else:
        said = str(given)
    where = f" at {server}" if server else ""
    return f"{name}({said[:SHOWN]}{'…' if len(said) > SHOWN else ''}){where}"


def _asks(asking: PendingApproval) -> messages.ToolRun:
    summed = asking.summary[:1024]
    return messages.ToolRun(asking.call_id, asking.name[:512], "asking", asking.number, summed)


def _run(call_id: str, name: str, state: Any, arguments: str, server: str = "") -> messages.ToolRun:
    summed = summary(name, arguments, server)[:1024]
    return messages.ToolRun(call_id, name[:512], state, "", summed)
