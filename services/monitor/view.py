"""Everything that a viewer is shown: a snapshot, and then the changes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from services.monitor import records
from services.monitor.captions import Captions
from services.monitor.records import Map
from services.monitor.state import State
from shared import messages
from shared.settings import Config

#: How many interruptions and marks a new viewer gets.
MOST_RECORDS, MOST_MARKS = 50, 200
#: How many results of functions a new viewer gets.
MOST_RESULTS = 20
#: A stage that has published no health for so long, ns, does not run.
LATE_NS = 3_000_000_000


class View:
    """Fed with the bus's messages; the stage takes the changes with `changes`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._state = State(config.interruption)
        self._word = ""
        self._captions = Captions()
        self._last: dict[str, Map] = {}  # the newest map of each type that a newer one replaces
        self._interruptions: deque[Map] = deque(maxlen=MOST_RECORDS)
        self._marks: deque[Map] = deque(maxlen=MOST_MARKS)
        self._healths: dict[str, tuple[messages.Health, int]] = {}
        self._new: deque[Map] = deque(maxlen=1000)
        self._onset_ns = 0
        self._active: set[str] = set()
        self._results: deque[Map] = deque(maxlen=MOST_RESULTS)
        self._changed: dict[str, str] = {}  # settings of [session], by the person

    # what comes over the bus

    def take(self, message: messages.Message, published_ns: int, now_ns: int) -> None:
        """Take any message except a health, which `health` takes."""
        state = self._state
        match message:
            case messages.LinkState():
                state.link(message, now_ns)
                self._replace(records.link(message))
            case messages.Speech():
                state.speech(message)
                if message.speaking and message.at_ns != self._onset_ns:
                    self._onset_ns = message.at_ns
                    self._mark("onset", message.at_ns)
            case messages.TurnDecision():
                state.turn_decision(message)
            case messages.ReplyState():
                before = state.hears
                state.reply(message, now_ns)
                if before and not message.speaking:
                    self._mark("turn_end", published_ns)
            case messages.Heard():
                state.heard(message)
                self._captions.heard(message)
            case messages.Transcript():
                self._captions.transcript(message)
            case messages.Flush():
                self._mark("flush", published_ns)
            case messages.Interruption():
                record = records.interruption(message, published_ns, self._captions.texts())
                self._interruptions.append(record)
                self._new.append(record)
                if message.ducked_ns:
                    self._mark("duck", message.ducked_ns)
            case messages.ToolState():
                state.tools(message)
                for call in message.calls:
                    if call.call_id not in self._active:
                        self._mark("call", published_ns)
                self._active = {call.call_id for call in message.calls}
                self._replace(records.calls(message))
            case messages.ToolResult():
                if result := records.result(message):
                    self._results.append(result)
                    self._new.append(result)
            case messages.Panel():
                self._changed = message.session
                self._replace(records.panel(message))
                self._replace(records.session(self._config, message.session))
            case messages.Usage():
                self._replace(records.usage(message))
        self._note_state(now_ns)

    def reload(self, config: Config) -> None:
        """Take settings that were read again."""
        self._config = config
        self._replace(records.session(config, self._changed))

    def health(self, stage: str, newest: messages.Health, now_ns: int) -> None:
        """Take a stage's health."""
        self._healths[stage] = (newest, now_ns)

    # what viewers get

    def changes(self, now_ns: int, *, watched: bool) -> Iterator[Map]:
        """Yield what has changed since the last call; nothing while nobody watches."""
        if not watched:
            self._new.clear()
            return
        self._note_state(now_ns)
        while self._new:
            yield self._new.popleft()
        yield from self._captions.changes()

    def healths(self, now_ns: int) -> Map:
        """Return the state of each stage."""
        stages = [
            records.health(name, newest, late=now_ns - at > LATE_NS)
            for name, (newest, at) in self._healths.items()
        ]
        return {"type": "health", "at_ms": now_ns // 1_000_000, "stages": stages}

    def snapshot(self, now_ns: int) -> Map:
        """Return everything."""
        last: dict[str, Any] = {
            kind: {name: value for name, value in change.items() if name != "type"}
            for kind, change in self._last.items()
        }
        return {
            "type": "snapshot",
            "at_ms": now_ns // 1_000_000,
            "state": self._state.now(now_ns),
            "settings": records.settings(self._config),
            "captions": self._captions.all(),
            "interruptions": list(self._interruptions),
            "marks": list(self._marks),
            "results": list(self._results),
            "stages": self.healths(now_ns)["stages"],
            **last,
        }

    def alive(self, now_ns: int) -> dict[str, int]:
        """Return the stages that run, and the pid of each, as its last health says."""
        return {
            name: newest.pid
            for name, (newest, at) in self._healths.items()
            if now_ns - at <= LATE_NS
        }

    @property
    def fresh(self) -> bool:
        """Whether something has changed that does not wait."""
        return bool(self._new)

    # helpers

    def _note_state(self, now_ns: int) -> None:
        if (word := self._state.now(now_ns)) != self._word:
            self._word = word
            self._new.append({"type": "state", "state": word, "at_ms": now_ns // 1_000_000})

    def _replace(self, change: Map) -> None:
        if self._last.get(change["type"]) != change:
            self._last[change["type"]] = change
            self._new.append(change)

    def _mark(self, kind: str, at_ns: int) -> None:
        mark = {"type": "mark", "kind": kind, "at_ms": at_ns // 1_000_000}
        self._marks.append(mark)
        self._new.append(mark)
