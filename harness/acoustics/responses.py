"""Measures impulse responses, fits their reverberation time, and applies them. Pure.

A response is an array of amplitudes at 24 kHz. Its first sound is its largest value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.audio.pcm import RATE

Sound = NDArray[np.float64]

#: The reverberation time is extrapolated from the decay between these levels, dB: the T30 of ISO
#: 3382-1.
_DECAY_DB = (-5.0, -35.0)
#: The direct sound is the first value of at least this share of the largest one.
_FIRST_SOUND = 0.3
#: The decay is measured from 10 ms after the direct sound on. Near the speaker the direct sound
#: alone holds most of the energy, and says nothing about the room.
_DIRECT = RATE // 100


def first_sound(response: Sound) -> int:
    """Return at which sample the direct sound arrives."""
    size = np.abs(response)
    return int(np.flatnonzero(size >= _FIRST_SOUND * size.max())[0])


def reverb_time(response: Sound) -> float:
    """Return the reverberation time (RT60) of a response, s, by Schroeder's integration."""
    energy = np.square(response[first_sound(response) + _DIRECT :])
    left = np.cumsum(energy[::-1])[::-1]
    if not len(left) or not left[0]:
        return 0.0
    decay_db = 10 * np.log10(left / left[0] + 1e-30)
    begin, end = (int(np.argmax(decay_db <= level)) for level in _DECAY_DB)
    if end - begin < 2:
        return 0.0
    slope = np.polyfit(np.arange(begin, end) / RATE, decay_db[begin:end], 1)[0]
    return float(-60 / slope)


def fitted(response: Sound, reverb_s: float) -> Sound:
    """Return the response with another reverberation time, without the silence before it.

    A room's simulation misses the wanted time by up to a third. The decay becomes faster or
    slower by one exponential, so the reflections stay where they are.
    """
    response = response[first_sound(response) :]
    at = np.arange(len(response)) / RATE
    shaped = response
    rate = 0.0  # of the exponential, 1/s
    for _ in range(8):
        measured = reverb_time(shaped)
        if abs(measured - reverb_s) < 0.01 * reverb_s or not measured:
            break
        # 60 dB are a factor of 1000: exp(-6.91).
        rate += 6.91 * (1 / reverb_s - 1 / measured)
        shaped = response * np.exp(-rate * at)
    return shaped


def delayed(response: Sound, delay_ms: float) -> Sound:
    """Return the response with silence before it."""
    return np.concatenate((np.zeros(round(delay_ms * RATE / 1000)), response))


def convolved(sound: Sound, response: Sound) -> Sound:
    """Return a sound convolved with a response, cut to the sound's length."""
    size = 1 << (len(sound) + len(response)).bit_length()
    product = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(sound)]


def faded(sounds: list[Sound], at: Sound) -> Sound:
    """Return one sound out of several: ``at`` says between which two it is at each sample.

    0.5 is half-way from the first sound to the second. The powers add up to one.
    """
    out = np.zeros(len(at))
    for number, sound in enumerate(sounds):
        share = np.clip(1 - np.abs(at - number), 0, 1)
        out += sound * np.sin(share * np.pi / 2)
    return out


def level(dbfs: float) -> float:
    """Return the amplitude of a level in dB."""
    return float(10 ** (dbfs / 20))


def decibels(power: float) -> float:
    """Return a power in dB; at least -120 dB."""
    return float(10 * np.log10(power + 1e-12))


def active_rms(sound: Sound) -> float:
    """Return the RMS of the frames of 20 ms that are at most 30 dB below the loudest."""
    power = np.square(sound[: len(sound) // 480 * 480].reshape(-1, 480)).mean(axis=1)
    if not power.any():
        return 0.0
    return float(np.sqrt(power[power > power.max() * 1e-3].mean()))
