"""The door: shows what is on the bus to every viewer, and publishes every person's commands.

A conversation does not need this stage. It observes the bus, and nothing waits for it. docs/door.md
describes the door.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from services.monitor import panel_file
from services.monitor.commands import Known
from services.monitor.desk import Desk
from services.monitor.door import Door
from shared import messages, registry
from shared.bus import Delivery
from shared.run import run
from shared.running import holders
from shared.stage import Stage

#: A stage that has published no health for so long, s, does not run.
ALIVE_S = 3.0
#: How often monitor looks whether its files are in place, s.
PLACE_S = 1.0
#: How long the answer to ``stop`` has to reach its client, s, before the stages end.
STOP_S = 0.1


class Monitor:
    """The door, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._link: messages.LinkState | None = None
        self._link_epoch = 0
        self._calls: list[messages.ToolRun] = []  # those that wait for an approval
        self._healths: dict[str, float] = {}
        saved = panel_file.read(stage.directory, stage.config.playback.volume)
        self._link_epoch = saved.link
        self._desk = Desk(stage, saved.panel, self._known, self._save, self._stop)
        stage.publish(saved.panel)
        stage.subscribe(messages.LinkState, self._on_link)
        stage.subscribe(messages.Flush, lambda d: self._desk.flush(d.message))
        stage.subscribe(messages.FlushReport, lambda d: self._desk.flush_report(d.message))
        stage.subscribe(messages.TurnDecision, lambda d: self._desk.turn_decision(d.message))
        stage.subscribe(messages.ToolState, self._on_tools)
        for topic in registry.read_by(stage.name):
            if topic.type is messages.Health:
                stage.subscribe(messages.Health, self._on_health, topic.name)
        self._door = Door(stage.directory, stage.config.monitor, stage.wake, stage.log.warning)
        stage.every(PLACE_S, self._door.keep_place)
        stage.on_close(self._door.close)
        stage.on_wake(self._follow)
        stage.state = f"open at {self._door.address or 'its Unix socket'}"
        stage.log.info("the door is %s", stage.state)

    def _known(self) -> Known:
        now = time.monotonic()
        return Known(
            decide=self._stage.config.interruption.decide,
            alive={name for name, at in self._healths.items() if now - at < ALIVE_S},
            link=self._link.state if self._link is not None else "",
            muted=self._desk.panel.muted,
            calls={name for call in self._calls for name in (call.call_id, call.number)},
        )

    def _follow(self) -> None:
        while (asked := self._door.take()) is not None:
            self._desk.follow(*asked)

    def _save(self, panel: messages.Panel) -> None:
        try:
            panel_file.write(self._stage.directory, panel_file.Saved(panel, self._link_epoch))
        except OSError as error:
            self._stage.count("panel_unsaved", warning=f"panel.json: {error.strerror}")

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

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        self._link = delivery.message
        epoch = delivery.stamp.epoch
        if epoch != self._link_epoch:
            self._link_epoch = epoch
            # A link that was started anew begins a conversation, with an open microphone.
            self._desk.unmute()

    def _on_tools(self, delivery: Delivery[messages.ToolState]) -> None:
        self._calls = [call for call in delivery.message.calls if call.state == "asking"]

    def _on_health(self, delivery: Delivery[messages.Health]) -> None:
        self._healths[delivery.topic.publisher] = time.monotonic()


def main() -> int:
    """Run the stage."""
    return run("monitor", Monitor, "Shows the conversation to viewers, and takes their commands.")


if __name__ == "__main__":
    raise SystemExit(main())
