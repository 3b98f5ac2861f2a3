"""The outputs of functions, as the model gets them. Pure."""

from __future__ import annotations

from shared.messages import MAX_OUTPUT, ToolOutput

#: The output of a call that was cancelled, whether it ran or waited.
CANCELLED = "Cancelled: the person interrupted. Do not mention it."
#: Upper limit for the pictures of one output, characters of their data URLs.
MAX_IMAGES = MAX_OUTPUT * 3 // 4


def cut(output: ToolOutput, limit: int) -> ToolOutput:
    """Return an output within the limits: its text in characters, and its pictures.

    The text says what was cut.
    """
    images: list[str] = []
    dropped = 0
    room = MAX_IMAGES
    for image in output.images:
        if len(image) <= room and len(images) < 8:
            images.append(image)
            room -= len(image)
        else:
            dropped += 1
    notes = f"\n[{dropped} pictures were too large and are left out]" if dropped else ""
    text = output.text
    if len(text) + len(notes) > limit:
        note = f"\n[cut: the output has {len(text)} characters, of which the first "
        note += f"{max(0, limit - 100 - len(notes))} are here]"
        text = text[: max(0, limit - 100 - len(notes))] + note
    return ToolOutput(text + notes, images)


def failure(why: str) -> ToolOutput:
    """Return the output of a call that failed, which the model can talk about."""
    return ToolOutput(f"Error: {why}")
