"""A stage reads its settings again while it runs (SIGURG; SIGHUP without a terminal)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shared.config import Config, ConfigError


class Reloading:
    """Reads the settings on the loop, after any thread asked for it."""

    def __init__(self, stage: str, log: logging.Logger) -> None:
        self._stage = stage
        self._log = log
        self._load: Callable[[], Config] | None = None
        #: Called with the new settings; None: the stage reads its settings only when it starts.
        self.handler: Callable[[Config], None] | None = None

    def ask(self, load: Callable[[], Config]) -> None:
        """Have ``load`` called by the next ``run``. Any thread may call this."""
        self._load = load

    def run(self) -> None:
        """Read the settings, if somebody asked for it. Wrong settings are logged and not used."""
        load, self._load = self._load, None
        if load is None:
            return
        try:
            settings = load()
        except ConfigError as error:
            self._log.error("the settings stay as they are: %s", error)
            return
        if self.handler is None:
            self._log.info("%s reads its settings only when it starts", self._stage)
        else:
            self.handler(settings)
