"""Small messages of four topics, one for each kind of queue and one that is urgent."""

from __future__ import annotations

from typing import Any

from shared import messages


def speaker(number: int) -> messages.SpeakerFrame:
    return messages.SpeakerFrame(stream=1, position=number, played_ns=2)


def flush(generation: int) -> messages.Flush:
    return messages.Flush(
        generation=generation,
        session=1,
        cause="speech_started",
        event_ns=1,
        received=[],
        interrupted=[],
        active=[],
    )


def link(state: Any = "open") -> messages.LinkState:
    return messages.LinkState(state=state, session=1)


def interrupt() -> messages.Control:
    return messages.Control(command="interrupt")
