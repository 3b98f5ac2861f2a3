"""A person's commands: which are followed, and the state of the push-to-talk button. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MS = 1_000_000
#: A command that is older than 1 s waited for a downlink that was not running. Following it now
#: would end a reply that the person did not mean.
MAX_AGE_NS = 1000 * MS


class CommandRefused(ValueError):
    """Raised when a person's command is not followed, with the reason."""


@dataclass(frozen=True)
class ButtonState:
    """The push-to-talk button."""

    pressed: bool = False
    #: When the person pressed or released the button, ns; 0: never.
    since_ns: int = 0


def check(command: str, age_ns: int, decide: str) -> None:
    """Raise CommandRefused unless the command is to be followed.

    ``command`` is a Control message's, ``decide`` is the setting ``interruption.decide``.
    """
    if command in ("talk", "release") and decide != "push_to_talk":
        raise CommandRefused("only with interruption.decide = push_to_talk")
    # The microphone must never stay open, so a release is followed however late it comes.
    if command != "release" and age_ns > MAX_AGE_NS:
        late_ms = age_ns // MS
        raise CommandRefused(
            f"it came {late_ms} ms late: downlink was stopped, or not running, when it was sent"
        )
