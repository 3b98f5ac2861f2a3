"""The events of a conversation as lines of a log, for a viewer of the recording. Pure."""

from __future__ import annotations

from services.recorder.schemas import INFO, WARNING
from shared import messages


class Lines:
    """Makes a line of each message that changes something; a repeated state makes none."""

    def __init__(self) -> None:
        self._before: dict[str, str] = {}

    def of(self, topic: str, message: messages.Message) -> tuple[int, str] | None:
        """Return the level and the line for a message; None if there is nothing to say."""
        level, text = self._say(message)
        if not text:
            return None
        # Each interruption counts; everything else only when it changes.
        if not isinstance(message, messages.Interruption):
            if self._before.get(topic) == text:
                return None
            self._before[topic] = text
        return level, text

    @staticmethod
    def _say(message: messages.Message) -> tuple[int, str]:
        match message:
            case messages.Interruption():
                heard = ", ".join(
                    f"heard {r.heard_ms} of {r.received_ms} ms: {r.action}" for r in message.reports
                )
                return INFO, f"interrupted ({message.cause}): {heard or 'nothing was playing'}"
            case messages.Flush():
                return INFO, f"flush {message.generation} ({message.cause})"
            case messages.Transcript(final=True):
                return INFO, f"{message.role}: {message.text}"
            case messages.LinkState():
                why = f": {message.reason}" if message.reason else ""
                return WARNING if why else INFO, f"link is {message.state}{why}"
            case messages.Speech():
                return INFO, "a person speaks" if message.speaking else "nobody speaks"
            case messages.Control():
                return INFO, f"command: {message.command}"
            case messages.Health():
                state = "well" if message.ok else "NOT well"
                return INFO if message.ok else WARNING, f"{state}: {message.state}"
        return INFO, ""
