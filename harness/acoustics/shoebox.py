"""Rooms by pyroomacoustics: boxes by image sources, longer reverberation by rays.

Only this module imports pyroomacoustics (the extra ``bench``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.acoustics.responses import Sound, first_sound
from shared.audio.pcm import RATE

#: Up to this reverberation time, s, image sources alone are computed; beyond it they are too many.
_IMAGES_S = 0.45
#: The order of the image sources where rays do the rest.
_ORDER = 3
#: Rays, the radius of the sphere that catches them (m), and the energy at which a ray ends.
_RAYS, _CATCHER_M, _LEAST_ENERGY = 10_000, 0.3, 1e-7
#: The share of the energy that a wall scatters, where rays are computed.
_SCATTERING = 0.1
#: The least distance of anything from a wall, m.
_WALL_M = 0.25

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Room:
    """A room as drawn: its size, and the responses in it."""

    size: Point  # m
    traced: bool
    echo: Sound  # from the speaker to the microphone, as computed
    elsewhere: Sound  # the same with the microphone 3 cm away
    people: list[Sound]  # from each place of the person to the microphone


def room(chance: np.random.Generator, reverb_s: float, distance_m: float, *, bent: bool) -> Room:
    """Return a room that is drawn at random.

    ``distance_m`` is from the speaker to the microphone. ``bent``: the room is L-shaped, and always
    ray-traced. The person has three places, each 0.4 to 1.5 m from the microphone.
    """
    import pyroomacoustics as pra  # noqa: PLC0415 - an extra, and slow to load

    large = 1.8 if reverb_s > 0.8 or distance_m > 2 else 1.0
    low, high = np.array([3.0, 2.8, 2.4]), np.array([5.5, 4.8, 3.0])
    size = chance.uniform(low, high) * np.array([large, large, min(large, 1.3)])
    traced = bent or reverb_s > _IMAGES_S
    absorption, order = _materials(reverb_s, size)
    kept = size / np.array([2, 1, 1]) if bent else size  # the L's long arm
    mic, speaker, people = _places(chance, kept, distance_m)
    pra.constants.set("num_threads", 1)
    # Rays are drawn by numpy's old generator.
    np.random.seed(int(chance.integers(1 << 31)))
    material = pra.Material(absorption, _SCATTERING if traced else None)
    options = {"fs": RATE, "max_order": _ORDER if traced else order, "ray_tracing": traced}
    if bent:
        x, y, z = size
        corners = np.array([[0, 0], [x, 0], [x, y / 2], [x / 2, y / 2], [x / 2, y], [0, y]]).T
        built = pra.Room.from_corners(corners, materials=material, **options)
        built.extrude(z, materials=material)
    else:
        built = pra.ShoeBox(size, materials=material, **options)
    if traced:
        built.set_ray_tracing(n_rays=_RAYS, receiver_radius=_CATCHER_M, energy_thres=_LEAST_ENERGY)
    for place in (speaker, *people):
        built.add_source(place)
    shift = chance.standard_normal(3)
    built.add_microphone(np.array([mic, mic + 0.03 * shift / np.linalg.norm(shift)]).T)
    built.compute_rir()
    responses = [[np.asarray(each, np.float64) for each in heard] for heard in built.rir]
    here, there = responses
    return Room(
        (float(size[0]), float(size[1]), float(size[2])),
        traced,
        here[0],
        _beside(there[0], here[0]),
        here[1:],
    )


def _materials(reverb_s: float, size: Sound) -> tuple[float, int]:
    """Return the walls' absorption and the order of images for a reverberation time."""
    volume = float(np.prod(size))
    surface = 2 * float(size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    # Eyring's formula: Sabine's is wrong for rooms as absorbing as a studio.
    absorption = 1 - float(np.exp(-0.161 * volume / (surface * reverb_s)))
    return absorption, int(np.ceil(343 * reverb_s / float(min(size)))) + 2


def _places(
    chance: np.random.Generator, size: Sound, distance_m: float
) -> tuple[Sound, Sound, list[Sound]]:
    """Return places within a room: the microphone, the speaker and three of the person."""

    def near(place: Sound, low: float, high: float) -> Sound | None:
        for _ in range(200):
            way = chance.standard_normal(3) * np.array([1, 1, 0.3])
            to = place + way / np.linalg.norm(way) * chance.uniform(low, high)
            if ((to > _WALL_M) & (to < size - _WALL_M)).all():
                return np.asarray(to, np.float64)
        return None

    while True:
        mic = chance.uniform(np.full(3, 0.5), np.maximum(size - 0.5, 0.6))
        speaker = near(mic, distance_m, distance_m)
        first = near(mic, 0.4, 1.5)
        if speaker is None or first is None:
            continue
        people = [first]
        while len(people) < 3:
            # A step on, as a person moves.
            step = near(people[-1], 0.2, 0.5)
            people.append(people[-1] if step is None else step)
        return np.asarray(mic, np.float64), speaker, people


def _beside(other: Sound, here: Sound) -> Sound:
    """Return ``other`` as long as ``here``, and with its first sound at the same place."""
    moved = np.zeros(len(here))
    at, there = first_sound(here), first_sound(other)
    kept = min(len(here) - at, len(other) - there)
    moved[at : at + kept] = other[there : there + kept]
    return moved
