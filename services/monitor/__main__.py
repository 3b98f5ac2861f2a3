"""The door: shows the messages on the bus to every viewer, and publishes every person's commands.

A conversation does not need this stage. It observes the bus, and nothing waits for it. docs/door.md
describes the door.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from services.monitor import panel_file
from services.monitor.command_runner import AWAY_S, CommandRunner
from services.monitor.commands import NEEDED, Known
from services.monitor.door import (
    CommandRequest,
    Door,
    MetricsRequest,
    SnapshotRequest,
    WantsChanged,
)
from services.monitor.load import Load
from services.monitor.metrics import Metrics
from services.monitor.view import View
from services.monitor.voices import Voices
from shared import messages, registry
from shared.bus import Delivery
from shared.config import Config
from shared.run import run
from shared.running import holder, holders
from shared.stage import Stage

#: How often monitor sends the changes that come with the time or the playhead alone, s.
SHOW_S = 0.1
#: How often monitor shows the healths, and checks whether its files are in place, s.
LOOK_S = 1.0
#: How long monitor waits for link, s, before it publishes the saved switches. Link says whether
#: they are those of an earlier conversation.
FIRST_LINK_S = 2.0
#: How long the answer to ``stop`` has to reach its client, s, before the stages end.
STOP_S = 0.1


class Monitor:
    """The door, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._config = stage.config
        saved = panel_file.read(stage.directory, stage.config.playback.volume)
        self._link: messages.LinkState | None = None
        self._link_epoch = saved.link
        self._settled_at = time.monotonic() + AWAY_S  # a stage that runs was heard by then
        self._no_link_yet = True  # since this monitor started
        self._calls: list[messages.ToolRun] = []  # those that wait for an approval
        self._view = View(stage.config)
        self._metrics = Metrics()
        self._load = Load()
        self._commands = CommandRunner(stage, saved.panel, self._known, self._turned, self._stop)
        self._view.take(saved.panel, 0, 0)
        stage.after(FIRST_LINK_S, self._without_link)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.Speech, self._on_message)
        stage.subscribe(messages.ReplyState, self._on_message)
        stage.subscribe(messages.Heard, self._on_message)
        stage.subscribe(messages.Transcript, self._on_message)
        stage.subscribe(messages.Sleep, self._on_sleep)
        stage.subscribe(messages.Usage, self._on_usage)
        stage.subscribe(messages.Flush, self._on_flush)
        stage.subscribe(messages.FlushReport, lambda d: self._commands.flush_report(d.message))
        stage.subscribe(messages.Interruption, self._on_interruption)
        stage.subscribe(messages.TurnDecision, self._on_turn_decision)
        stage.subscribe(messages.ToolState, self._on_tools)
        stage.subscribe(messages.ToolResult, self._on_message)
        for topic in registry.read_by(stage.name):
            if topic.type is messages.Health:
                stage.subscribe(messages.Health, self._on_health, topic.name)
        self._door = Door(stage.directory, stage.config.monitor, stage.wake, stage.log.warning)
        self._voices = Voices(
            stage.directory, stage.network, self._door.tell, self._door.tell_sound
        )
        stage.on_reload(self._reload)
        stage.on_close(self._door.close)
        stage.on_close(self._voices.close)
        stage.on_wake(self._serve)
        stage.every(SHOW_S, self._show)
        stage.every(LOOK_S, self._look)
        stage.state = f"open at {self._door.address or 'its Unix socket'}"
        stage.log.info("the door is %s", stage.state)

    # the clients

    def _serve(self) -> None:
        """Do what clients have asked for."""
        while (asked := self._door.take()) is not None:
            match asked:
                case CommandRequest(command, answer):
                    self._commands.follow(command, answer)
                case SnapshotRequest(watcher):
                    # The changes so far are in the snapshot.
                    self._show()
                    self._door.tell(self._view.snapshot(time.monotonic_ns()), to=watcher)
                case WantsChanged(wants):
                    self._voices.want(wants)
                case MetricsRequest(answer):
                    answer(self._metrics.text())

    def _show(self) -> None:
        watched = self._door.watched
        for change in self._view.changes(time.monotonic_ns(), watched=watched):
            self._door.tell(change)

    def _look(self) -> None:
        self._door.keep_place()
        if self._door.watched:
            now_ns = time.monotonic_ns()
            healths = self._view.healths(now_ns)
            for stage in healths["stages"]:
                stage.update(self._load.of(stage["stage"], stage["pid"], now_ns))
            self._door.tell(healths)

    # commands

    def _known(self) -> Known:
        alive = self._view.alive(time.monotonic_ns())
        return Known(
            config=self._config,
            changed=self._commands.panel.session,
            alive=alive.keys(),
            away=self._away(alive),
            link=self._link.state if self._link is not None else "",
            muted=self._commands.panel.muted,
            calls={name for call in self._calls for name in (call.call_id, call.number)},
        )

    def _away(self, alive: Mapping[str, int]) -> set[str]:
        """Return the stages that run, or may run, and read no commands now."""
        stage, control = self._stage, registry.of(messages.Control)
        # A stage that runs may not have published its health since this monitor started.
        young = time.monotonic() < self._settled_at
        unknown = set(NEEDED - alive.keys()) if young else set()
        readers = {name for name in alive if control.name in registry.stage(name).reads}
        missing = len(readers) - stage.publisher.consumers(control)
        if missing <= 0:
            return unknown
        # A process that was killed no longer holds its lock, and the next one has another pid.
        gone = {name for name in readers if holder(stage.directory, name) != alive[name]}
        return unknown | (gone if len(gone) == missing else readers)

    def _turned(self, panel: messages.Panel) -> None:
        self._view.take(panel, 0, 0)
        try:
            panel_file.write(self._stage.directory, panel_file.Saved(panel, self._link_epoch))
        except OSError as error:
            self._stage.count("panel_unsaved", warning=f"panel.json: {error.strerror}")

    def _reload(self, config: Config) -> None:
        # The rest holds until its stage is started again.
        self._config = msgspec.structs.replace(self._stage.config, session=config.session)
        self._view.reload(self._config)

    def _stop(self) -> None:
        self._stage.log.info("a person's command ends the conversation")
        self._stage.after(STOP_S, self._end_all)

    def _end_all(self) -> None:
        for pid in holders(self._stage.directory).values():
            # A stopped process (Ctrl-Z) handles SIGTERM only after SIGCONT.
            for number in (signal.SIGTERM, signal.SIGCONT):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    # what comes over the bus

    def _on_message(self, delivery: Delivery[Any]) -> None:
        self._view.take(delivery.message, delivery.stamp.t, time.monotonic_ns())
        if self._view.fresh:
            self._show()

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        self._on_message(delivery)
        self._metrics.link(delivery.message)
        self._link = delivery.message
        epoch = delivery.stamp.epoch
        if epoch != self._link_epoch:
            self._link_epoch = epoch
            if self._no_link_yet:
                # Link and this monitor were started together: a new conversation, with an open
                # microphone and the settings of config.toml.
                self._commands.begin()
            else:
                # Link alone was started again. A muted microphone stays muted.
                self._turned(self._commands.panel)
        elif self._no_link_yet:
            self._stage.publish(self._commands.panel)
        self._no_link_yet = False

    def _without_link(self) -> None:
        if self._no_link_yet:
            self._stage.publish(self._commands.panel)

    def _on_sleep(self, delivery: Delivery[messages.Sleep]) -> None:
        self._on_message(delivery)
        self._commands.sleep(delivery.message)

    def _on_flush(self, delivery: Delivery[messages.Flush]) -> None:
        self._on_message(delivery)
        self._commands.flush(delivery.message)

    def _on_turn_decision(self, delivery: Delivery[messages.TurnDecision]) -> None:
        self._on_message(delivery)
        self._commands.turn_decision(delivery.message)

    def _on_interruption(self, delivery: Delivery[messages.Interruption]) -> None:
        self._on_message(delivery)
        self._metrics.interruption(delivery.message)

    def _on_usage(self, delivery: Delivery[messages.Usage]) -> None:
        self._on_message(delivery)
        self._metrics.usage(delivery.message)

    def _on_tools(self, delivery: Delivery[messages.ToolState]) -> None:
        self._on_message(delivery)
        self._calls = [call for call in delivery.message.calls if call.state == "asking"]

    def _on_health(self, delivery: Delivery[messages.Health]) -> None:
        stage = delivery.topic.publisher
        self._view.health(stage, delivery.message, time.monotonic_ns())
        self._metrics.health(stage, delivery.message)


def main() -> int:
    """Run the stage."""
    return run("monitor", Monitor, "Shows the conversation to viewers, and takes their commands.")


if __name__ == "__main__":
    raise SystemExit(main())
