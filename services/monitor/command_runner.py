"""Follows commands and waits for their outcomes. Pure.

When downlink follows a command, a message on the bus shows it: a flush for an interruption, a turn
decision for the button, a ``Sleep`` for sleep and wake. So the outcome that a person reads is what
happened, and not what was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from services.monitor import commands
from services.monitor.commands import Command, Known, Outcome, Refused
from shared import messages
from shared.audio import pcm
from shared.owner import Owner

MS = 1_000_000
#: How long downlink may take to follow a command, s: it takes milliseconds.
FOLLOW_S = 1.5
#: How long the conversation may take to fall asleep, s: downlink looks every half second, and first
#: cuts off the reply.
SLEEP_S = 3.0
#: How long playback may take after the flush to report it, s: as long as uplink waits for it.
REPORT_S = 0.5
#: How long a command waits for a stage that is being started again, s, and how often monitor checks
#: whether the stage is there, s. A stage starts in less than a second, on a busy machine in two.
AWAY_S, LOOK_S = 2.5, 0.05
#: A message belongs to the command whose time is this close, ns: on two machines, a reader
#: translates times, which moves them a little.
SAME_NS = 100 * MS

Answer = Callable[[Outcome], None]


@dataclass(eq=False)
class _Pending:
    """A command whose outcome is not known yet."""

    command: str
    at_ns: int
    answer: Answer
    flushed: bool = False
    active: bool = False  # the flush ended a response that the server was still generating


class CommandRunner:
    """The commands, from the door to the bus and back.

    ``panel``: the positions of the switches. ``known`` returns the present state of the
    conversation. ``turned`` is called with the new positions when a switch was turned. ``stop``
    ends the conversation.
    """

    def __init__(
        self,
        stage: Owner,
        panel: messages.Panel,
        known: Callable[[], Known],
        turned: Callable[[messages.Panel], None],
        stop: Callable[[], None],
    ) -> None:
        self.panel = panel
        self._stage = stage
        self._turned = turned
        self._known = known
        self._stop = stop
        self._pending: list[_Pending] = []

    def follow(self, command: Command, answer: Answer, waited: int = 0) -> None:
        """Follow a command, and call ``answer`` once with the outcome, now or soon.

        ``waited``: how often the command has waited for a stage that is being started again.
        """
        known = self._known()
        try:
            commands.check(command, known)
            away = commands.away(command, known) if command.command not in commands.OWN else ""
            if away and waited >= AWAY_S / LOOK_S:
                raise Refused(f"{away} was being started again: try once more")
        except Refused as why:
            answer(Outcome(done=False, outcome=str(why)))
            return
        name = command.command
        if name in messages.WAKERS:
            for pending in [p for p in self._pending if p.command == "sleep"]:
                self._pending.remove(pending)
                pending.answer(Outcome(done=False, outcome=f"called off by {name}"))
        if away:
            # Nothing is held for a stage while another one reads the commands.
            self._stage.after(LOOK_S, lambda: self.follow(command, answer, waited + 1))
        elif name == "stop":
            self._stop()
            answer(Outcome(done=True, outcome="the conversation ends"))
        elif name in commands.OWN:
            answer(Outcome(done=True, outcome=self._turn(command)))
        else:
            at_ns = self._stage.publish(commands.control(command))
            already = known.link and (known.link == "asleep") == (name == "sleep")
            if name in SLEEP_OUTCOMES and already:
                answer(Outcome(done=True, outcome=f"{SLEEP_OUTCOMES[name]} already"))
            elif name in ("interrupt", "talk", "release", *SLEEP_OUTCOMES):
                pending = _Pending(name, at_ns, answer)
                self._pending.append(pending)
                limit_s = SLEEP_S if name == "sleep" else FOLLOW_S
                self._stage.after(limit_s, lambda: self._give_up(pending))
            else:
                answer(Outcome(done=True, outcome=PASSED_ON[name]))

    def begin(self) -> None:
        """Begin a new conversation: unmuted, and with the settings of config.toml."""
        self.panel = msgspec.structs.replace(self.panel, session={})
        self._turn(Command("unmute"))

    def _turn(self, command: Command) -> str:
        """Turn a switch of the panel, and return what it is now."""
        if command.command == "volume":
            self.panel = msgspec.structs.replace(self.panel, volume=command.value or 0)
            said = f"volume {command.value} %"
        elif command.command in ("set", "unset"):
            changed = commands.after(command, self.panel.session)
            self.panel = msgspec.structs.replace(self.panel, session=changed)
            said = f"{command.id}: {HELD if command.command == 'set' else 'as in config.toml'}"
        else:
            muted = command.command == "mute"
            self.panel = msgspec.structs.replace(self.panel, muted=muted)
            said = "muted" if muted else "not muted"
        self._stage.publish(self.panel)
        self._turned(self.panel)
        return said

    # what shows on the bus

    def flush(self, flush: messages.Flush) -> None:
        """Note a flush, which a command may have caused."""
        for pending in self._pending_at("interrupt", flush.event_ns):
            if not pending.flushed:
                pending.flushed, pending.active = True, bool(flush.active)
                self._stage.after(REPORT_S, lambda p=pending: self._done(p, "interrupted"))  # type: ignore[misc]

    def flush_report(self, report: messages.FlushReport) -> None:
        """Note which items a flush ended."""
        for pending in self._pending_at("interrupt", report.event_ns):
            self._done(pending, stopped(report.items, active=pending.active))

    def turn_decision(self, decision: messages.TurnDecision) -> None:
        """Note the position of the button of push to talk."""
        name = "talk" if decision.talk else "release"
        for pending in self._pending_at(name, decision.talk_ns):
            self._done(pending, "speak now" if decision.talk else "released")

    def sleep(self, sleep: messages.Sleep) -> None:
        """Note whether the conversation sleeps."""
        name = "sleep" if sleep.asleep else "wake"
        for pending in [p for p in self._pending if p.command == name]:
            self._done(pending, SLEEP_OUTCOMES[name])

    def _pending_at(self, name: str, at_ns: int) -> list[_Pending]:
        return [p for p in self._pending if p.command == name and abs(p.at_ns - at_ns) < SAME_NS]

    def _done(self, pending: _Pending, outcome: str) -> None:
        if pending in self._pending:
            self._pending.remove(pending)
            pending.answer(Outcome(done=True, outcome=outcome))

    def _give_up(self, pending: _Pending) -> None:
        if pending in self._pending and not pending.flushed:
            self._pending.remove(pending)
            said = "downlink did not follow the command: is it stopped?"
            pending.answer(Outcome(done=False, outcome=said))


#: How long a changed setting holds.
HELD = "changed until this conversation ends"
#: The answer to a command whose outcome does not show at once.
PASSED_ON = {
    "say": "sent",
    "type": "sent",
    "approve": "approved",
    "deny": "denied",
}
#: The outcome of the commands that change whether the conversation sleeps.
SLEEP_OUTCOMES = {"sleep": "asleep", "wake": "awake"}


def stopped(items: list[messages.HeardItem], *, active: bool) -> str:
    """Return what an interruption stopped, in words.

    ``active``: it ended a response that the server was still generating.
    """
    if not items:
        return "interrupted: it had no sound" if active else "nothing was playing"
    heard, received = (
        pcm.samples_to_ms(sum(counts)) / 1000
        for counts in ([i.heard for i in items], [i.received for i in items])
    )
    return f"interrupted: heard {heard:.1f} of {received:.1f} s"
