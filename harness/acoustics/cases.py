"""The cases of the independent rooms: each row of the table is a kind of room with its troubles.

A seed draws the rooms, places, sentences and noises. An even seed is for tuning, an odd one for
judging: a constant that was chosen with the odd ones in sight proves nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

#: Rooms that are drawn for each kind of case, and sentences in a case of the quick run.
_ROOMS = 2
_QUICK_SENTENCES = 3


@dataclass(frozen=True)
class Case:
    """A room, its devices, and who speaks when. Levels are RMS while someone speaks."""

    row: str  # the row of the table that it belongs to
    name: str
    reverb_s: float = 0.4
    distance_m: float = 0.5  # from the speaker to the microphone
    bent: bool = False  # an L-shaped room instead of a box
    far_dbfs: float = -22.0  # what the speaker is given
    gain_db: float = -10.0  # the echo in the microphone, relative to the far end
    delay_ms: float = 60.0  # that no time stamp states
    person_db: float = 0.0  # the person, relative to the echo
    starts: tuple[float, ...] = ()  # when the person begins to speak, s
    reply_s: float = 1.0  # when the assistant begins its first reply
    seconds: float = 40.0
    noise_dbfs: float = -65.0
    hum_dbfs: float | None = None  # the mains' hum
    drift_ppm: float = 0.0  # of the microphone's clock
    pauses: bool = False  # of 0.15 to 0.6 s in the far end; one ends 0.5 s before each start
    answers: bool = False  # the person cuts each reply, and the next one answers after a silence
    moves: bool = False  # the person walks about, and changes the reflections
    volume: tuple[tuple[float, float], ...] = ()  # from when on the speaker is how much louder, dB
    agc_db: float = 0.0  # by how much the microphone's slow gain control goes up and down
    leveller: bool = False  # the speaker's own loudness control
    jump_ms: float = 0.0  # by which the delay jumps half-way: a device's buffer grew or shrank
    drive: float = 0.0  # distortion of the speaker: 1 bends peaks, 3 squares them
    small: bool = False  # a small speaker: nothing below 300 Hz
    seed: int = 0

    @property
    def echo_dbfs(self) -> float:
        """The level of the echo in the microphone."""
        return self.far_dbfs + self.gain_db

    @property
    def person_dbfs(self) -> float:
        """The level of the person in the microphone."""
        return self.echo_dbfs + self.person_db

    @property
    def chance(self) -> np.random.Generator:
        """The random numbers of this case: the same whichever other cases run."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.row}/{self.name}".encode())])


def judging(seed: int) -> bool:
    """Return whether a seed is for judging; the others are for tuning."""
    return seed % 2 == 1


def every(first: float, step: float, count: int) -> tuple[float, ...]:
    """Return when a person begins who speaks again and again, s."""
    return tuple(first + step * number for number in range(count))


def cases(seed: int, *, quick: bool = False) -> list[Case]:
    """Return the cases of the table. ``quick``: the first and the last of each row, shortened."""
    found = [replace(case, seed=seed) for make in _MAKERS for case in make()]
    if not quick:
        return found
    rows = [
        [case for case in found if case.row == row] for row in dict.fromkeys(c.row for c in found)
    ]
    return [_shorter(case) for row in rows for case in (row[0], row[-1])]


def _shorter(case: Case) -> Case:
    """Return a case with no more than _QUICK_SENTENCES sentences."""
    if len(case.starts) <= _QUICK_SENTENCES:
        return case
    starts = case.starts[:_QUICK_SENTENCES]
    return replace(case, starts=starts, seconds=starts[-1] + 6)


def _first_words() -> Iterator[Case]:
    kinds = [
        Case("first words", "", 0.4, gain_db=-11, delay_ms=60, noise_dbfs=-63),
        Case("first words", "", 0.25, 0.3, gain_db=-4, delay_ms=25),
        Case("first words", "", 0.6, 1.5, gain_db=-14, delay_ms=150, noise_dbfs=-60),
    ]
    for number, (at, person_db) in enumerate(
        (at, db) for at in (0.3, 0.5, 0.7, 1.0, 1.2, 1.6, 2.0) for db in (0.0, 5.0, 10.0)
    ):
        for room in range(_ROOMS):
            kind = kinds[(number + room) % len(kinds)]
            yield replace(
                kind,
                name=f"{at:g} s, person {person_db:+g} dB, room {room}",
                person_db=person_db,
                starts=(kind.reply_s + at,),
                seconds=kind.reply_s + at + 4.5,
            )


def _loud_echo() -> Iterator[Case]:
    kind = Case("loud echo", "", 0.4, 0.5, starts=every(20, 5, 4), seconds=41)
    for gain_db, far_dbfs in ((5.0, -22.0), (10.0, -24.0), (15.0, -30.0)):
        for room in range(_ROOMS):
            yield replace(
                kind,
                name=f"gain {gain_db:+g} dB, room {room}",
                gain_db=gain_db,
                far_dbfs=far_dbfs,
                delay_ms=(60, 25)[room],
                reverb_s=(0.4, 0.25)[room],
            )


def _late_echo() -> Iterator[Case]:
    kind = Case("late echo", "", 0.4, 0.5, gain_db=-6, starts=every(20, 5, 3), seconds=36)
    for delay_ms in (320, 340, 360, 450, 520, 600):
        yield replace(kind, name=f"delay {delay_ms} ms", delay_ms=delay_ms)


def _equal() -> Iterator[Case]:
    kinds = [
        Case("person as loud", "", 0.2, 0.1, gain_db=-6, delay_ms=20),
        Case("person as loud", "", 0.3, 0.3, gain_db=-3, delay_ms=40),
        Case("person as loud", "", 0.4, 0.5, gain_db=-10, delay_ms=60),
        Case("person as loud", "", 0.4, 1.0, gain_db=-12, delay_ms=120, bent=True),
        Case("person as loud", "", 0.5, 1.5, gain_db=-8, delay_ms=200),
        Case("person as loud", "", 0.6, 3.0, gain_db=-15, delay_ms=80),
    ]
    for number, kind in enumerate(kinds):
        for room in range(_ROOMS):
            yield replace(
                kind,
                name=f"RT60 {kind.reverb_s:g} s, {kind.distance_m:g} m, room {room}",
                noise_dbfs=(-65.0, -55.0)[(number + room) % 2],
                starts=every(10, 5, 10),
                seconds=60,
            )


def _pauses() -> Iterator[Case]:
    for room in range(2 * _ROOMS):
        gain_db = (-6.0, -11.0, -14.0, -3.0)[room % 4]
        yield Case(
            "far end with pauses",
            f"room {room}",
            (0.4, 0.3, 0.5, 0.2)[room % 4],
            (0.5, 1.0, 0.3, 2.0)[room % 4],
            gain_db=gain_db,
            delay_ms=(60, 120, 30, 90)[room % 4],
            noise_dbfs=-22 + gain_db - 35,
            pauses=True,
            starts=every(8, 4.6, 10),
            seconds=56,
        )


def _leak() -> Iterator[Case]:
    for number, over_db in enumerate((0, 3, 6, 9, 12, 16)):
        yield Case(
            "leak",
            f"{over_db} dB above the noise",
            (0.3, 0.2)[number % 2],
            0.1,
            gain_db=-36,
            delay_ms=(30, 60)[number % 2],
            person_db=30,
            noise_dbfs=-58 - over_db,
            starts=every(40, 4.5, 3),
            seconds=54,
        )


def _headphones() -> Iterator[Case]:
    for number in range(_ROOMS):
        yield Case(
            "headphones",
            f"no echo, room {number}",
            (0.3, 0.5)[number],
            gain_db=-80,
            person_db=76,
            noise_dbfs=-62,
            starts=every(8, 5, 4),
            seconds=29,
        )


def _jumps() -> Iterator[Case]:
    for number, jump_ms in enumerate((80, -60)):
        yield Case(
            "delay jumps",
            f"by {jump_ms:+d} ms",
            (0.3, 0.4)[number],
            gain_db=-8,
            delay_ms=(60, 180)[number],
            jump_ms=jump_ms,
            starts=every(23, 5, 3),
            seconds=40,
        )


def _drift() -> Iterator[Case]:
    kind = Case("drift", "", 0.3, 0.5, gain_db=-8, starts=every(40, 5, 3), seconds=56)
    for ppm in (100, -100, 200, -300, 500, -500):
        yield replace(kind, name=f"{ppm:+d} ppm", drift_ppm=ppm)


def _clipping() -> Iterator[Case]:
    for room in range(2 * _ROOMS):
        yield Case(
            "clipping microphone",
            f"echo {(-12, -9)[room % 2]} dBFS, room {room}",
            (0.3, 0.4)[room % 2],
            0.2,
            gain_db=(10.0, 13.0)[room % 2],
            delay_ms=40,
            starts=every(10, 5, 4),
            seconds=31,
        )


def _laptop() -> Iterator[Case]:
    for person_db in (0, -5, -10, -15, -20):
        for room in range(_ROOMS):
            yield Case(
                "laptop",
                f"person {person_db:+d} dB, room {room}",
                (0.4, 0.5)[room],
                0.15,
                gain_db=(2.0, 6.0)[room],
                delay_ms=(50, 90)[room],
                person_db=person_db,
                small=True,
                drive=(0.5, 1.0)[room],
                starts=every(10, 5, 6),
                seconds=41,
            )


def _long_reverb() -> Iterator[Case]:
    for reverb_s in (1.2, 2.0):
        for room in range(_ROOMS):
            yield Case(
                "long reverberation",
                f"RT60 {reverb_s:g} s, room {room}",
                reverb_s,
                (1.0, 2.0)[room],
                gain_db=-8,
                delay_ms=60,
                starts=every(10, 5, 6),
                seconds=41,
            )


def _quiet() -> Iterator[Case]:
    for far_dbfs in (-40, -45, -50, -55):
        for room in range(_ROOMS):
            yield Case(
                "quiet far end",
                f"far end {far_dbfs} dBFS, room {room}",
                (0.4, 0.3)[room],
                0.3,
                far_dbfs=far_dbfs,
                gain_db=(0.0, 8.0)[room],
                delay_ms=60,
                person_db=10,
                starts=every(25, 5, 2),
                seconds=36,
            )


def _changes() -> Iterator[Case]:
    kind = Case("", "", 0.4, 0.5, gain_db=-8, person_db=3, starts=every(12, 5, 6), seconds=43)
    steps = ((8.0, 6.0), (20.5, -6.0), (30.5, 8.0))
    for room in range(_ROOMS):
        here = replace(kind, name=f"room {room}", reverb_s=(0.4, 0.6)[room])
        yield replace(here, row="moving person", moves=True)
        asks = replace(here, answers=True, starts=every(9, 8.5, 5), seconds=52)
        yield replace(asks, row="questions and answers")
        yield replace(here, row="volume steps", volume=steps)
        yield replace(here, row="slow gain control", agc_db=6)
        yield replace(here, row="loudness leveller", leveller=True)
        yield replace(here, row="mains hum", hum_dbfs=(-50.0, -40.0)[room])


_MAKERS = (
    _first_words, _loud_echo, _late_echo, _equal, _pauses, _leak, _drift, _clipping, _laptop,
    _long_reverb, _quiet, _changes, _headphones, _jumps,
)  # fmt: skip
