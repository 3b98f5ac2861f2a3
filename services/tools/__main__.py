"""The tools stage: it offers functions to the model, and runs the functions that the model calls.

The functions are those of a person's Python modules and of MCP servers. With nothing configured
the stage offers nothing and imports nothing more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from services.tools import call_queue, mcp_file, outputs
from services.tools.approvals import Approvals
from services.tools.call_queue import CallQueue, Job
from services.tools.events import Done, Line, Offer, Say
from services.tools.offer import MAX_FUNCTIONS, Offered
from services.tools.results import Results
from shared import config, messages, now
from shared.bus import Delivery
from shared.private import read_file
from shared.redaction import shown
from shared.run import run
from shared.stage import Stage

if TYPE_CHECKING:
    from services.tools.engine import Engine

#: A call older than this, ns, was held while tools was not running. It is not run: uplink has sent
#: an error as its output.
STALE_NS = 3_000_000_000


class Tools:
    """The stage that offers functions and runs them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = settings = stage.config.tools
        self._call_queue = CallQueue(settings.parallel, settings.ask)
        asks = bool(settings.ask) or any(
            server.require_approval != "never" for server in stage.config.session.mcp
        )
        self._results = Results(stage)
        self._approvals = Approvals(
            stage,
            self._call_queue,
            self._results,
            self._queue,
            by_voice=asks and settings.approve_by_voice,
        )
        self._engine: Engine | None = None
        self._state: messages.ToolState | None = None
        self._troubles: list[str] = []  # faults of the settings
        self._names: dict[str, tuple[str, ...]] = {}  # of each function, by the model's name
        servers = self._servers()
        stage.subscribe(messages.ToolCall, self._on_call)
        stage.subscribe(messages.Control, self._on_control)
        self._publish_state()
        if not (settings.modules or servers):
            self._publish_offer([], [])
            stage.log.info(
                "no functions are configured: tools.modules and tools.mcp_file name them"
            )
            return
        # Imported here: without configured functions the import would cost time and memory for
        # nothing.
        from services.tools.engine import Engine  # noqa: PLC0415

        # The API's limit is for all entries of ``session.tools``.
        limit = MAX_FUNCTIONS - len(stage.config.session.mcp) - self._approvals.by_voice
        self._engine = Engine(settings, str(stage.home), servers, stage.wake, limit)
        stage.on_wake(self._on_events)
        stage.on_close(self._engine.close)
        stage.state = "waiting for the functions"
        stage.log.info("looking for functions: %s", shown(", ".join([*settings.modules, *servers])))
        self._engine.start()

    def _servers(self) -> dict[str, mcp_file.Server]:
        path = config.mcp_file(self._settings, self._stage.home)
        try:
            servers, faults = mcp_file.read(read_file(path), os.environ)
        except (FileNotFoundError, IsADirectoryError):
            return {}
        except (OSError, mcp_file.BadFile) as error:
            servers, faults = {}, [f"{error}: no MCP server is used"]
        for fault in map(shown, faults):
            self._troubles.append(f"{path.name}: {fault}")
            self._stage.count("bad_mcp_file", warning=f"{path}: {fault}")
        return servers

    # what the model calls

    def _on_call(self, delivery: Delivery[messages.ToolCall]) -> None:
        call = delivery.message
        if call.action == "cancel":
            self._cancel(call.call_id)
        elif call.action in ("server_runs", "server_ran"):
            self._on_server_call(call, delivery.stamp.t)
        elif call.action == "run" and now.monotonic_ns() - delivery.stamp.t > STALE_NS:
            self._stage.count("calls_too_old", warning=f"{call.name}: called too long ago: not run")
        elif self._call_queue.take(call.call_id):
            self._stage.counters["calls"] += 1
            self._take(call, call.payload.decode("utf-8", "replace"), delivery.stamp.t)
        self._go_on()

    def _take(self, call: messages.ToolCall, arguments: str, at_ns: int) -> None:
        job = Job(call.call_id, call.name, arguments)
        if call.action == "ask":
            self._approvals.ask_for_server(job, call.server or "a server", at_ns)
        elif call.name == call_queue.ANSWER and self._approvals.by_voice:
            self._approvals.passed_on(job, call.spoke_ns)
        elif self._call_queue.needs_approval(*self._names.get(call.name, (call.name,))):
            self._approvals.ask(job, at_ns)
        else:
            self._queue(job)

    def _queue(self, job: Job) -> None:
        if self._engine is None:
            self._results.output(job, outputs.failure("no functions are configured"), ok=False)
        elif not self._call_queue.queue(job):
            self._results.output(job, outputs.failure("too many calls wait"), ok=False)

    def _on_server_call(self, call: messages.ToolCall, at_ns: int) -> None:
        """Note that a function has begun or ended that the server runs itself, on an MCP server."""
        text = call.payload.decode("utf-8", "replace")
        if call.action == "server_runs":
            self._call_queue.server_runs(call.call_id, call.name, text, call.server, at_ns)
        else:
            took_ms, summary = self._call_queue.server_ran(call.call_id, at_ns)
            ended = messages.ToolRun(call.call_id, call.name, "running", "", summary)
            self._results.server_ran(ended, text, ok=call.ok, took_ms=took_ms)

    def _cancel(self, call_id: str) -> None:
        if (run := self._call_queue.withdraw(call_id)) is not None:
            self._results.server_ran(run, "the session has ended", ok=False)
            return
        if (job := self._call_queue.cancel(call_id)) is not None:
            self._results.output(job, messages.ToolOutput(outputs.CANCELLED), ok=False)
        elif self._engine is not None:
            self._engine.cancel(call_id)

    def _on_control(self, delivery: Delivery[messages.Control]) -> None:
        if delivery.message.command in ("approve", "deny"):
            self._approvals.control(delivery.message)
            self._go_on()

    # what comes back

    def _on_events(self) -> None:
        assert self._engine is not None
        while self._engine.events:
            match self._engine.events.popleft():
                case Done(job, output, ok, took_ms):
                    self._call_queue.finish(job)
                    self._results.output(job, output, ok=ok, took_ms=took_ms)
                case Say(text):
                    self._stage.counters["notices"] += 1
                    said = f"A function reports: {text}\nTell the person now, briefly."
                    self._results.notice(said)
                case Line(text, is_fault):
                    level = logging.WARNING if is_fault else logging.INFO
                    self._stage.log.log(level, "%s", shown(text))
                case Offer(functions, troubles):
                    self._publish_offer(functions, troubles)
        self._go_on()

    def _go_on(self) -> None:
        for job in self._call_queue.start():
            assert self._engine is not None
            self._engine.submit(job)
        self._publish_state()

    def _publish_offer(self, functions: Sequence[Offered], troubles: Sequence[str]) -> None:
        self._names = {function.name: function.names for function in functions}
        tools = list(functions)
        if self._approvals.by_voice:
            tools.append(Offered(call_queue.ANSWER, "", call_queue.ANSWER_TOOL))
        payload = msgspec.json.encode([each.entry for each in tools])
        names = [each.name for each in tools]
        self._stage.publish(messages.ToolOffer(names=names, payload=payload))
        troubles = [*self._troubles, *map(shown, troubles)]
        self._stage.ok = not troubles
        count = f"{len(functions)} functions" if functions else "no functions"
        self._stage.state = "; ".join([count, *troubles])

    def _publish_state(self) -> None:
        state = self._call_queue.state()
        if state != self._state:
            self._state = state
            self._stage.publish(state)


def main() -> int:
    """Run the stage."""
    return run("tools", Tools, "Runs the functions that the model calls.")


if __name__ == "__main__":
    raise SystemExit(main())
