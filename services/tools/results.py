"""Publishes what came of calls, for the model and for programs that show the conversation. Pure."""

from __future__ import annotations

from typing import Literal

from services.tools import outputs
from services.tools.call_queue import Job, PendingApproval
from shared import codec, messages
from shared.messages import ToolOutput, ToolResult
from shared.owner import Owner


class Results:
    """The results of the calls. The model gets each one once."""

    def __init__(self, stage: Owner) -> None:
        self._stage = stage
        self._limit = stage.config.tools.output_limit

    def output(
        self,
        job: Job,
        output: ToolOutput,
        *,
        ok: bool,
        took_ms: int = 0,
        what: Literal["output", "model_only"] = "output",
    ) -> None:
        """Publish what a call returned."""
        if not ok:
            self._stage.count("calls_failed")
            self._stage.log.info("%s: %s", job.name, output.text[:300])
        if job.has_output:
            # A call has one output. So the model gets this one as a notice.
            self._publish("outcome", job, output, ok=ok, took_ms=took_ms)
            said = f"{job.summary}, which the person has approved, returned: {output.text}"
            self.notice(f"{said}\nTell the person.", output.images)
        else:
            self._publish(what, job, output, ok=ok, took_ms=took_ms)

    def reply(self, job: Job, text: str, *, ok: bool = True) -> None:
        """Publish an output that only says what the model is to do."""
        self.output(job, ToolOutput(text), ok=ok, what="model_only")

    def server_ran(self, run: messages.ToolRun, text: str, *, ok: bool, took_ms: int = 0) -> None:
        """Publish the output of a call that the server has run itself."""
        self._publish("outcome", run, ToolOutput(text), ok=ok, took_ms=took_ms)

    def approval(self, asking: PendingApproval, *, approved: bool) -> None:
        """Publish the person's answer to a call that waited for one."""
        self._stage.publish(
            ToolResult(
                what="approval",
                call_id=asking.call_id,
                name=asking.name[:512],
                summary=asking.summary[:1024],
                server=asking.server,
                ok=approved,
            )
        )

    def notice(self, text: str, images: list[str] | None = None) -> None:
        """Publish words for the model that are no output of a call."""
        payload = self._payload(ToolOutput(text, images or []))
        self._stage.publish(ToolResult(what="notice", payload=payload))

    def _publish(
        self,
        what: Literal["output", "model_only", "outcome"],
        call: Job | messages.ToolRun,
        output: ToolOutput,
        *,
        ok: bool,
        took_ms: int,
    ) -> None:
        self._stage.publish(
            ToolResult(
                what=what,
                call_id=call.call_id,
                name=call.name[:512],
                summary=call.summary[:1024],
                ok=ok,
                took_ms=took_ms,
                payload=self._payload(output),
            )
        )

    def _payload(self, output: ToolOutput) -> bytes:
        return codec.write_output(outputs.cut(output, self._limit))
