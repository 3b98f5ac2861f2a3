"""Messages for tests, and their frames as a publisher sends them."""

from __future__ import annotations

import time

from shared import codec, messages, registry

EPOCH = 1_700_000_000_000_000


def mic(number: int, payload: bytes = b"") -> messages.MicFrame:
    return messages.MicFrame(stream=1, position=number, captured_ns=2, overflows=0, payload=payload)


def audio(number: int) -> messages.ReplyAudio:
    return messages.ReplyAudio(
        generation=1,
        session=1,
        response_id="response",
        item_id="item",
        content_index=0,
        start=number,
        payload=bytes(960),
    )


def frames(
    message: messages.Message, seq: int, epoch: int = EPOCH, age_ms: float = 0, name: str = ""
) -> list[bytes]:
    """Return a message's frames as its publisher sends them to a consumer."""
    stamp = messages.Stamp(seq=seq, epoch=epoch, t=time.monotonic_ns() - round(age_ms * 1e6))
    topic = name or registry.of(type(message)).consumed_name
    return [topic.encode(), *codec.encode(message, stamp)]
