"""What a canceller knows of the room, to be known again by the next process. Pure.

It holds for the two devices it was learnt with: while neither was opened anew their samples stand
in the same relation, and so does the echo.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from services.echo.canceller import Canceller
from services.echo.doubletalk import Rest
from services.echo.farend import Aligner, Relation
from services.echo.kalman import MAX_SKIP, PARTS
from shared.audio import pcm

#: What is longer was not written here, bytes.
MAX_BYTES = 1 << 20


class NotLearnt(ValueError):
    """Raised for what no canceller has written."""


class _Learnt(msgspec.Struct, frozen=True):
    relation: Relation
    rest: Rest
    skip: int
    weights: bytes  # complex64, PARTS rows
    doubt: bytes  # float32, the same


def remember(canceller: Canceller, aligner: Aligner) -> bytes | None:
    """Give what is known of the room; None where it is not known yet."""
    relation, rest = aligner.relation(), canceller.talk.rest()
    if relation is None or rest is None:
        return None
    room = canceller.filter
    learnt = _Learnt(relation, rest, room.skip, room.weights.tobytes(), room.doubts.tobytes())
    return msgspec.msgpack.encode(learnt)


def recall(data: bytes, canceller: Canceller, aligner: Aligner) -> None:
    """Let both go on where others were, should the devices still be the same.

    Raises NotLearnt, with neither changed.
    """
    try:
        learnt = msgspec.msgpack.decode(data, type=_Learnt)
        weights = np.frombuffer(learnt.weights, np.complex64).reshape(PARTS, pcm.FRAME + 1)
        doubt = np.frombuffer(learnt.doubt, np.float32).reshape(PARTS, pcm.FRAME + 1)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotLearnt(str(error)) from None
    relation, rest = learnt.relation, learnt.rest
    numbers = (relation.far_at, rest.mean, rest.deviation, rest.noise)
    sane = (
        all(map(math.isfinite, numbers))
        and rest.deviation >= 0
        and rest.noise > 0
        and abs(relation.step - 1) < 0.001
        and 0 <= learnt.skip <= MAX_SKIP
    )
    if not (sane and np.isfinite(weights).all() and np.isfinite(doubt).all()):
        raise NotLearnt("a number that cannot be")
    canceller.recall(learnt.skip, weights, doubt, rest)
    aligner.resume(relation)
