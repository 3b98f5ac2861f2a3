"""The faults that a person has to know of, each once. Pure.

A fault is taken from the bus if a message reports it (the link's state, a stage's health), and
otherwise from a stage's log, with the log's advice. Often both report the same fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared import messages

#: How long a line of the log waits, s, for a message that says the same.
HOLD_S = 0.5
#: How long the link may be away before a person has to know, s: it comes back within a second from
#: most faults, and then nothing was lost.
AWAY_S = 2.0
#: How long a stage may be unwell before its health is shown, s. Its log says more, if it is here.
UNWELL_S = 3.0
#: A fault that is said again is not shown again for this long, s.
AGAIN_S = 300.0
#: How many faults are remembered.
REMEMBERED = 200

#: The end of a warning that a stage repeats: shared/counters.py.
_REPEATED = re.compile(r" \(\d+ times, \d+ in all\)$")
_NUMBER = re.compile(r"\d+")
#: A line of a stage's log: shared/run.py.
_LOGGED = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (?:([A-Z]) )?(.*)", re.DOTALL)
#: The levels that a person has to know of.
_LEVELS = ("W", "E", "C")


def notable(text: str) -> tuple[str, str] | None:
    """Return the part of a printed line that a person may have to know; None: there is none.

    It is ("log", its text) for a warning or an error, and ("raw", the line) for a line that is not
    of the log: a traceback, or the message of a library.
    """
    found = _LOGGED.fullmatch(text)
    if found is None:
        return ("raw", text) if text.strip() else None
    return ("log", found[2]) if found[1] in _LEVELS else None


@dataclass
class _Held:
    """A line of the log that waits."""

    stage: str
    text: str
    until_s: float


class Faults:
    """Decides which faults are shown, and when."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], float] = {}  # when each fault was shown, s
        self._held: list[_Held] = []
        self._raw: dict[str, str] = {}  # the last line of each process that is not of the log
        self._link: messages.LinkState | None = None
        self._away_s = 0.0  # since when the link is away, s; 0: it is not
        self._lost = False  # whether that was shown
        self._reasons: dict[str, None] = {}  # what link said on the bus
        self._unwell: dict[str, tuple[float, str]] = {}  # since when, s, and the health's state
        self._said: set[str] = set()  # the stages whose fault was shown since they were well

    @property
    def is_open(self) -> bool:
        """Whether the link has a session, as far as is known."""
        return self._link is not None and self._link.state == "open"

    def link(self, state: messages.LinkState, now_s: float) -> list[str]:
        """Take the link's state."""
        self._link = state
        if state.reason:
            self._reasons[state.reason] = None
            while len(self._reasons) > REMEMBERED:
                del self._reasons[next(iter(self._reasons))]
        if state.state in ("open", "asleep"):
            lost, self._away_s, self._lost = self._lost, 0.0, False
            return ["link: connected again"] if lost else []
        self._away_s = self._away_s or now_s
        return self.due(now_s)

    def health(self, stage: str, health: messages.Health, now_s: float) -> list[str]:
        """Take a stage's health."""
        if not health.ok:
            since, _ = self._unwell.get(stage, (now_s, ""))
            self._unwell[stage] = (since, health.state)
            return []
        self._unwell.pop(stage, None)
        if stage not in self._said:
            return []
        self._said.discard(stage)
        for key in [key for key in self._shown if key[0] == stage]:
            del self._shown[key]
        return [f"{stage}: well again"]

    def logged(self, stage: str, text: str, now_s: float) -> None:
        """Take a warning or an error of a process's log."""
        if len(self._held) < REMEMBERED:
            self._held.append(_Held(stage, _REPEATED.sub("", text), now_s + HOLD_S))

    def raw(self, stage: str, text: str) -> None:
        """Take a line that a process printed beside its log."""
        self._raw[stage] = text.strip()

    def ended(self, stage: str, text: str) -> str:
        """Return what to show when the launcher says that a process ended, crashed or hangs."""
        last = self._raw.pop(stage, "")
        return f"{text} ({last})" if last else text

    def due(self, now_s: float) -> list[str]:
        """Return the faults to show now."""
        return [*self._due_link(now_s), *self._due_log(now_s), *self._due_health(now_s)]

    def rest(self) -> list[str]:
        """Return the faults that still wait, at the end."""
        return list(self._due_log(float("inf")))

    def _due_link(self, now_s: float) -> Iterator[str]:
        state = self._link
        if state is None or not self._away_s or not state.reason:
            return
        if state.state == "refused" or now_s - self._away_s > AWAY_S:
            self._lost = True
            if self._is_new("link", state.reason, now_s):
                yield f"link: {state.reason}"

    def _due_log(self, now_s: float) -> Iterator[str]:
        due = [held for held in self._held if held.until_s <= now_s]
        self._held = [held for held in self._held if held.until_s > now_s]
        for held in due:
            on_bus = held.stage == "link" and any(r in held.text for r in self._reasons)
            if not on_bus and self._is_new(held.stage, held.text, min(now_s, held.until_s)):
                if held.stage in self._unwell:
                    self._said.add(held.stage)
                yield f"{held.stage}: {held.text}"

    def _due_health(self, now_s: float) -> Iterator[str]:
        for stage, (since_s, state) in self._unwell.items():
            if stage not in self._said and now_s - since_s > UNWELL_S:
                recent = [at for key, at in self._shown.items() if key[0] == stage]
                self._said.add(stage)
                if not any(now_s - at < AGAIN_S for at in recent):
                    yield f"{stage}: {state}"

    def _is_new(self, stage: str, text: str, now_s: float) -> bool:
        """Return whether a fault was not shown lately, and note that it is shown now."""
        key = (stage, _NUMBER.sub("0", text))
        before = self._shown.get(key)
        if before is not None and now_s - before < AGAIN_S:
            return False
        self._shown[key] = now_s
        while len(self._shown) > REMEMBERED:
            del self._shown[next(iter(self._shown))]
        return True
