"""A player of replies whose samples tell their places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.playback.player import Player
from shared import messages
from shared.audio import pcm

FADE = 72  # samples: 3 ms
JITTER = 960  # samples: 40 ms

Samples = NDArray[np.int16]


def counting(samples: int, first: int = 1) -> Samples:
    """Return samples whose values tell their places; none of them is silent."""
    return (np.arange(first, first + samples) % 32767 + 1).astype(np.int16)


def frame(
    sound: Samples | int = 0,
    item: str = "item_1",
    start: int = 0,
    *,
    generation: int = 1,
    response: str = "resp_1",
    content_index: int = 0,
    last: bool = False,
    out_of_band: bool = False,
) -> messages.ReplyAudio:
    """Return a chunk of an item. A number as ``sound`` is a number of equal samples."""
    samples = np.full(sound, 1000, np.int16) if isinstance(sound, int) else sound
    return messages.ReplyAudio(
        generation=generation,
        session=7,
        response_id=response,
        item_id=item,
        content_index=content_index,
        start=start,
        last=last,
        out_of_band=out_of_band,
        payload=pcm.from_array(samples),
    )


def play(player: Player, samples: int) -> Samples:
    """Return the samples that the device is given next."""
    out = player.render(samples)
    assert len(out) == samples * pcm.SAMPLE_BYTES
    return pcm.to_array(out)


def heard(player: Player) -> dict[str, int]:
    """Return how much of each item was heard, samples."""
    return {item.item_id: item.heard for item in player.items()}


def reported(cut: list[messages.HeardItem] | None) -> list[tuple[str, int, int, bool]]:
    """Return the id, heard, received and done of each item that a flush reports."""
    assert cut is not None
    return [(item.item_id, item.heard, item.received, item.done) for item in cut]


def playing(
    samples: int, played: int, *, fade: int = 0, sound: Samples | None = None, last: bool = False
) -> Player:
    """Return a player in the middle of an item."""
    player = Player(1, 0, fade)
    player.push(frame(counting(samples) if sound is None else sound, last=last))
    play(player, played)
    return player
