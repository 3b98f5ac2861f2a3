"""The calls that wait for a person's approval: asks for it, and follows the answer. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from services.tools.call_queue import ANSWER, BadAnswer, CallQueue, Job, PendingApproval
from services.tools.results import Results
from shared import messages
from shared.owner import Owner


class Approvals:
    """Asks and follows answers. ``run`` runs a call that was approved.

    ``by_voice``: whether the model may pass on what the person says.
    """

    def __init__(
        self,
        stage: Owner,
        calls: CallQueue,
        results: Results,
        run: Callable[[Job], None],
        *,
        by_voice: bool,
    ) -> None:
        self._stage = stage
        self._calls = calls
        self._results = results
        self._run = run
        self.by_voice = by_voice

    def ask(self, job: Job, at_ns: int) -> None:
        """Let a call wait for an approval, and tell the model to ask for it."""
        asking = self._calls.ask(job.call_id, job.name, job.arguments, at_ns=at_ns)
        self._stage.log.info("%s waits for approval: number %s", asking.summary, asking.number)
        how = self._how_to_ask(asking)
        self._results.reply(job, f"Not done yet: this needs the person's approval. {how}")

    def ask_for_server(self, job: Job, server: str, at_ns: int) -> None:
        """Ask for the approval of a call that the model's server will run itself."""
        asking = self._calls.ask(job.call_id, job.name, job.arguments, server, at_ns)
        how = self._how_to_ask(asking)
        self._results.notice(f"{asking.summary} waits for approval. {how}")

    def passed_on(self, job: Job, spoke_ns: int) -> None:
        """Follow the answer that the model passes on, if the person can have given it.

        ``job``: the call of ANSWER.
        """
        try:
            given = msgspec.json.decode(job.arguments, type=Arguments, strict=False)
            asking = self._calls.answered_by_voice(given.number, spoke_ns, approved=given.approved)
        except (msgspec.MsgspecError, BadAnswer) as error:
            self._results.reply(job, f"Error: {error}", ok=False)
            return
        self._answered(asking, approved=given.approved)
        if asking.server:
            self._results.reply(job, "Passed on.")
        elif given.approved:
            # The call that asked for approval has its output already. So the function's output
            # becomes that of the call that passed the answer on.
            self._run(Job(job.call_id, asking.name, asking.arguments))
        else:
            self._results.reply(job, _denied(asking))

    def control(self, control: messages.Control) -> None:
        """Follow the answer that a person gives with a button or a command."""
        approved = control.command == "approve"
        try:
            asking = self._calls.answered(control.id)
        except BadAnswer as error:
            self._stage.count("commands_refused", warning=f"{control.command}: {error}")
            return
        self._answered(asking, approved=approved)
        if asking.server:
            return
        if approved:
            self._run(Job(asking.call_id, asking.name, asking.arguments, has_output=True))
        else:
            self._results.notice(_denied(asking))

    def _answered(self, asking: PendingApproval, *, approved: bool) -> None:
        self._stage.log.info("%s: %s", asking.summary, "approved" if approved else "denied")
        self._results.approval(asking, approved=approved)

    def _how_to_ask(self, asking: PendingApproval) -> str:
        """Return what the model has to do for an approval."""
        if not self.by_voice:
            return f"Tell the person to approve number {asking.number} with a button or a command."
        return (
            f"Ask the person whether you may run {asking.summary}. Then call {ANSWER}"
            f' with number "{asking.number}" and the answer. The person can also use a button.'
        )


class Arguments(msgspec.Struct):
    """The arguments of ANSWER."""

    approved: bool
    number: str = ""


def _denied(asking: PendingApproval) -> str:
    return f"The person has denied {asking.summary}. It was not done."
