"""Echo, vad and the judge in simulated rooms with an open loudspeaker: see benchmarks/room.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness import driving
from harness.acoustics.responses import decibels
from harness.driving import BUS_NS, GRACE, OUTPUT_NS, Detectors
from harness.judging import Conversation
from harness.rooms import Rendered, Scene, render
from services.echo.chain import Chain
from shared import config, messages
from shared.audio import pcm

#: The removed echo counts from 2 s on, in samples.
SETTLED = 2 * pcm.RATE


@dataclass(frozen=True)
class Client:
    """The results of the client's judgement."""

    found: int = 0  # barge-ins that interrupted
    for_nothing: int = 0  # interruptions without a barge-in
    noises: int = 0
    noticed: int = 0  # noises that ducked the assistant
    left: int = 0  # items left in the conversation in which nobody speaks


@dataclass(frozen=True)
class Outcome:
    """The results of one scene."""

    name: str
    echo_db: float
    removed_db: float  # echo removed from 2 s on, while nobody else speaks
    self_interruptions: int
    false_ducks: int
    barge_ins: int
    found: int  # barge-ins that the server detected
    ducked: list[float]  # ms from voice to duck, of the barge-ins that were ducked
    cpu: float  # % of a core at real time
    client: Client = Client()


def frames(room: Rendered, chance: np.random.Generator) -> Iterator[tuple[int, messages.Message]]:
    """Yield the frames of both devices in the order in which echo gets them, with their times."""
    return driving.frames(room.far, room.microphone, room.scene.drift_ppm, chance)


def run(
    scene: Scene, settings: config.Config, clock: Callable[[], float] = time.process_time
) -> Outcome:
    """Run one scene; return its results. ``clock`` returns this process's processor time, s."""
    room = render(scene)
    chain = Chain(settings.echo)
    detectors = Detectors(settings)
    clean = np.zeros(len(room.microphone), np.int16)
    spent = 0.0
    for now, message in frames(room, np.random.default_rng(scene.seed)):
        begun = clock()
        if isinstance(message, messages.SpeakerFrame):
            chain.speaker(message, now)
        elif isinstance(message, messages.MicFrame):
            chain.microphone(message)
        done = [frame for _, frame in chain.take(now)]
        for frame in done:
            detectors.vad(frame, now)
        spent += clock() - begun
        for frame in done:
            here = slice(frame.position, frame.position + pcm.FRAME)
            clean[here] = np.frombuffer(frame.payload, np.int16)
            detectors.server(frame, now)
    heard = detectors.heard
    outcome = judged(room, clean, heard.onsets, heard.turns, spent)
    return replace(outcome, client=client_judged(room, detectors.client))


def client_judged(room: Rendered, client: Conversation) -> Client:
    """Compare the client's decisions with the scene."""

    def within(at: int, stretches: list[tuple[int, int]]) -> bool:
        return any(begin <= at <= end + GRACE for begin, end in stretches)

    def holds(begin: int, end: int) -> bool:
        return any(begin < their_end and end > their for their, their_end in room.spoken)

    return Client(
        sum(any(within(at, [one]) for at in client.interruptions) for one in room.spoken),
        sum(not within(at, room.spoken) for at in client.interruptions),
        len(room.noises),
        sum(any(within(at, [one]) for at in client.ducks) for one in room.noises),
        sum(not item.deleted and not holds(item.begin, item.end) for item in client.items.values()),
    )


def judged(
    room: Rendered,
    clean: np.ndarray[tuple[int, ...], np.dtype[np.int16]],
    onsets: list[tuple[int, int]],
    turns: list[int],
    spent: float,
) -> Outcome:
    """Compare the detections with the scene."""
    ducked, found = [], 0
    theirs: set[int] = set()
    ours: set[int] = set()
    for begin, end in room.spoken:
        at_ns = 10**9 + pcm.samples_to_ns(begin)
        mine = [o for o in onsets if begin <= o[0] <= end + GRACE]
        ducked += [(mine[0][1] + BUS_NS + OUTPUT_NS - at_ns) / 1e6] if mine else []
        heard = [t for t in turns if begin <= t <= end + GRACE]
        found += bool(heard)
        theirs.update(heard)
        ours.update(o[0] for o in mine)
    alone = np.ones(len(clean), bool)
    alone[:SETTLED] = False
    for begin, end in room.spoken:
        alone[max(0, begin - pcm.RATE // 10) : end + GRACE] = False
    before = decibels(float(np.square(room.microphone[alone]).mean()))
    after = decibels(float(np.square(clean[alone] / 32768).mean()))
    return Outcome(
        room.scene.name,
        room.scene.echo_db,
        before - after,
        len([t for t in turns if t not in theirs]),
        len([o for o in onsets if o[0] not in ours]),
        len(room.spoken),
        found,
        ducked,
        100 * spent / room.scene.seconds,
    )


def table(outcomes: list[Outcome]) -> str:
    """Return the figures as a table."""
    head = f"{'':22}{'echo':>6}{'removed':>9}{'itself':>8}{'ducks':>7}{'found':>8}{'duck, ms':>10}"
    rows = [head, f"{'':22}{'dB':>6}{'dB':>9}{'':>8}{'false':>7}{'':>8}{'median':>10}"]
    for o in outcomes:
        median = f"{np.median(o.ducked):.0f}" if o.ducked else "-"
        rows.append(
            f"{o.name:22}{o.echo_db:6.0f}{o.removed_db:9.1f}{o.self_interruptions:8}"
            f"{o.false_ducks:7}{f'{o.found}/{o.barge_ins}':>8}{median:>10}"
        )
    return "\n".join(rows)


def client_table(outcomes: list[Outcome]) -> str:
    """Return the effects of the noises as a table."""
    rows = [f"{'':22}{'noises':>8}{'ducked':>8}{'cut off':>9}{'left':>6}{'found':>8}"]
    rows += [
        f"{o.name:22}{o.client.noises:8}{o.client.noticed:8}{o.client.for_nothing:9}"
        f"{o.client.left:6}{f'{o.client.found}/{o.barge_ins}':>8}"
        for o in outcomes
    ]
    return "\n".join(rows)


def client_summary(outcomes: list[Outcome]) -> dict[str, float]:
    """Return the results of the client's judgement over all rooms."""
    clients = [o.client for o in outcomes]
    return {
        "client_barge_ins": sum(o.barge_ins for o in outcomes),
        "client_found": sum(c.found for c in clients),
        "for_nothing": sum(c.for_nothing for c in clients),
        "noises": sum(c.noises for c in clients),
        "noticed": sum(c.noticed for c in clients),
        "left": sum(c.left for c in clients),
    }


def summary(outcomes: list[Outcome], chosen: list[Scene]) -> dict[str, float]:
    """Return the figures that the aims name."""
    linear = {s.name for s in chosen if s.linear}
    ducked = [ms for o in outcomes for ms in o.ducked]
    return {
        "minutes": sum(s.seconds for s in chosen) / 60,
        "self_interruptions": sum(o.self_interruptions for o in outcomes),
        "false_ducks": sum(o.false_ducks for o in outcomes),
        "barge_ins": sum(o.barge_ins for o in outcomes),
        "found": sum(o.found for o in outcomes),
        "ducked": len(ducked),
        "least_removed_linear_db": min(
            (o.removed_db for o in outcomes if o.name in linear), default=float("nan")
        ),
        "voice_to_duck_median_ms": float(np.median(ducked)) if ducked else float("nan"),
        "voice_to_duck_p95_ms": (
            float(np.percentile(ducked, 95, method="higher")) if ducked else float("nan")
        ),
        "cpu_percent": float(np.mean([o.cpu for o in outcomes])),
    }
