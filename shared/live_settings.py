"""The settings of a stage that follows changes while it runs."""

from __future__ import annotations

from collections.abc import Callable

from shared import messages
from shared.bus import Delivery
from shared.config import Config, ConfigError
from shared.realtime import changes
from shared.stage import Stage


def follow_changes(
    stage: Stage, follow: Callable[[Config], None]
) -> Callable[[Delivery[messages.Panel]], None]:
    """Call ``follow`` with the settings at each ``bargein reload``, and at each change at the door.

    Return the handler for the topic ``panel``, which has the changes.
    """
    read, changed = stage.config, dict[str, str]()

    def apply() -> None:
        try:
            settings = changes.applied(read, changed)
        except ConfigError as error:
            # Monitor checks each change, but on another machine it has other settings.
            stage.count("changes_refused", warning=f"a change is not followed: {error}")
            settings = read
        follow(settings)

    def reload(settings: Config) -> None:
        nonlocal read
        read = settings
        apply()

    def panel(delivery: Delivery[messages.Panel]) -> None:
        nonlocal changed
        if delivery.message.session != changed:
            changed = delivery.message.session
            apply()

    stage.on_reload(reload)
    return panel
