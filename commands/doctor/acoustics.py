"""Judge the microphone and the speaker by a test tone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commands.doctor.findings import Finding
from shared.audio import pcm

Samples = NDArray[np.int16]

#: The test tone rises from 300 to 3400 Hz in 250 ms, so that a matched filter finds its place to
#: within a sample, also in noise. Its peak is 12 dB below full scale: well audible, and not loud.
TONE_S, LOWEST_HZ, HIGHEST_HZ, PEAK = 0.25, 300.0, 3400.0, 0.25
#: How many tones are played: one may be lost to a noise.
TONES = 3
#: When the tones begin, s: the silence before the first one shows the room's noise.
FIRST_S, EACH_S = 1.2, 0.9
#: The end of the test, s. The last tone may return late: a Bluetooth speaker takes 300 ms.
END_S = FIRST_S + TONES * EACH_S + 0.3
#: The noise is measured up to this long before the first tone, s; a device may click at its start.
NOISE_FROM_S, NOISE_TO_S = 0.4, 1.1
#: A tone is searched for from 0.1 s before its time at the converter, because stamps can be off, to
#: 0.6 s after.
EARLIEST_S, LATEST_S = -0.1, 0.6
#: The tone was heard if the recording resembles it by this much (a correlation: 1 is the tone
#: itself). Noise alone reaches 0.13.
HEARD = 0.25
#: Two of the tones must have taken the same time, to within 20 ms.
AGREE_S = 0.02
#: The echo's energy is counted up to 0.1 s after the tone: the room goes on sounding.
ROOM_S = 0.1
#: Above this the noise makes words hard to tell from it, dBFS.
NOISY_DBFS = -40.0
#: Above this an echo hides the person's voice, relative to what was played, dB.
LOUD_ECHO_DB = 0.0
#: A round trip above this is felt: the assistant goes on for so much longer when interrupted, ms.
SLOW_MS = 150.0
#: A sample at the converter's limit is clipped. More than 1 ms of clipped sound is a fault.
CLIPPED, TOO_MANY = 32_760, pcm.RATE // 1000


@dataclass(frozen=True)
class Block:
    """A block of sound at a device."""

    position: int  # of its first sample, samples since the device was started
    converter_ns: int  # when its first sample was at the converter
    called_ns: int  # when the device's thread handed it over, or asked for it


@dataclass(frozen=True)
class Measurement:
    """The result of a measurement."""

    noise_dbfs: float
    clipped: int  # samples
    zero: bool  # whether all samples are zero
    #: From the player to the recorder, ms; None: the tone was not heard.
    round_trip_ms: float | None = None
    #: The level of the tone in the microphone relative to what was played, dB.
    echo_db: float = 0.0


def tone() -> Samples:
    """Return the test tone."""
    at = np.arange(round(TONE_S * pcm.RATE)) / pcm.RATE
    phase = 2 * np.pi * (LOWEST_HZ * at + (HIGHEST_HZ - LOWEST_HZ) / (2 * TONE_S) * at**2)
    wave = np.sin(phase) * np.hanning(len(at)) ** 0.25 * PEAK * 32767
    return wave.astype(np.int16)


def starts() -> list[int]:
    """Return where the tones begin, samples since the speaker was started."""
    return [round((FIRST_S + number * EACH_S) * pcm.RATE) for number in range(TONES)]


def programme() -> Samples:
    """Return all that the speaker plays."""
    whole = np.zeros(round(END_S * pcm.RATE), np.int16)
    wave = tone()
    for start in starts():
        whole[start : start + len(wave)] = wave
    return whole


def measure(recorded: Samples, blocks: Sequence[Block], played: Sequence[Block]) -> Measurement:
    """Measure a recording. ``blocks`` are the recording's, ``played`` the speaker's."""
    noise = recorded[round(NOISE_FROM_S * pcm.RATE) : round(NOISE_TO_S * pcm.RATE)]
    found = [
        arrival
        for start in starts()
        if (arrival := _arrival(recorded, blocks, played, start)) is not None
    ]
    noise_power = float(np.square(noise, dtype=np.float64).mean()) if len(noise) else 0.0
    result = Measurement(
        noise_dbfs=pcm.dbfs(noise.tobytes()),
        clipped=int((np.abs(recorded.astype(np.int32)) >= CLIPPED).sum()),
        zero=not recorded.any(),
    )
    middle = statistics.median(trip for trip, _ in found) if found else 0.0
    agreed = [each for each in found if abs(each[0] - middle) <= AGREE_S * 1000]
    if len(agreed) < 2:
        return result
    # The tone's own length counts, so that the room's sound after it adds to its power. The noise
    # was there for the whole time.
    power = statistics.fmean(power for _, power in agreed) - noise_power * (1 + ROOM_S / TONE_S)
    wave_power = float(np.square(tone(), dtype=np.float64).mean())
    return Measurement(
        result.noise_dbfs,
        result.clipped,
        result.zero,
        round_trip_ms=statistics.median(trip for trip, _ in agreed),
        echo_db=10 * float(np.log10(max(power, 1.0) / wave_power)),
    )


def _arrival(
    recorded: Samples, blocks: Sequence[Block], played: Sequence[Block], start: int
) -> tuple[float, float] | None:
    """Return one tone's round trip, ms, and its power in the recording; None: it was not heard.

    The power is that of all sound up to ROOM_S after the tone, spread over the tone's length.
    """
    out = _block_of(played, start)
    if out is None or not blocks:
        return None
    dac_ns = out.converter_ns + pcm.samples_to_ns(start - out.position)
    zero = blocks[0]
    expected = zero.position + (dac_ns - zero.converter_ns) * pcm.RATE / 1e9
    first = max(0, round(expected + EARLIEST_S * pcm.RATE))
    wave = tone()
    window = recorded[first : round(expected + LATEST_S * pcm.RATE) + len(wave)]
    if len(window) < len(wave):
        return None
    match = _correlation(window.astype(np.float64), wave.astype(np.float64))
    best = int(match.argmax())
    if match[best] < HEARD:
        return None
    place = first + best
    into = _block_of(blocks, place)
    if into is None:
        return None
    # In each block the sample waits for its turn, so both offsets belong to the way.
    trip_ns = into.called_ns - out.called_ns
    heard = recorded[place : place + len(wave) + round(ROOM_S * pcm.RATE)]
    power = float(np.square(heard, dtype=np.float64).sum()) / len(wave)
    return trip_ns / 1e6, power


def _correlation(window: NDArray[np.float64], wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much the window resembles the wave at each place: 0 to 1, in either polarity."""
    size = 1 << (len(window) + len(wave)).bit_length()
    spectrum = np.fft.rfft(window, size) * np.conj(np.fft.rfft(wave, size))
    places = len(window) - len(wave) + 1
    product = np.abs(np.fft.irfft(spectrum, size)[:places])
    sums = np.concatenate(([0.0], np.cumsum(window**2)))
    energy = sums[len(wave) : len(wave) + places] - sums[:places]
    # Sound softer than one step of 16 bits resembles nothing.
    energy = np.maximum(energy, len(wave))
    found: NDArray[np.float64] = product / np.sqrt(energy * float((wave**2).sum()))
    return found


def _block_of(blocks: Sequence[Block], position: int) -> Block | None:
    """Return the block that contains a sample."""
    return next((block for block in reversed(blocks) if block.position <= position), None)


def judge(heard: Measurement, devices_ms: float) -> list[Finding]:
    """Return the findings of the test tone. ``devices_ms``: the latency that the devices state."""
    if heard.zero:
        silent = (
            "the microphone gives only zeros: unmute it, allow this program to use it in the"
            " system's privacy settings, or choose another one (bargein devices, capture.device)"
        )
        return [Finding("noise", False, silent), *_unmeasured("the microphone is silent")]
    findings = []
    noise = f"the room's noise is {heard.noise_dbfs:.0f} dBFS"
    if heard.noise_dbfs > NOISY_DBFS:
        noise += ": too loud. Lower the microphone's level, or move it away from the fan"
    findings.append(Finding("noise", heard.noise_dbfs <= NOISY_DBFS, noise))
    clips = "no sample clips"
    if heard.clipped > TOO_MANY:
        clips = (
            f"{heard.clipped / pcm.RATE * 1000:.0f} ms of sound clip: lower the microphone's level"
            " or the speaker's volume, or move the two apart"
        )
    findings.append(Finding("clipping", heard.clipped <= TOO_MANY, clips))
    if heard.round_trip_ms is None:
        return [*findings, *_unmeasured("the microphone does not hear the speaker: headphones?")]
    trip = (
        f"{heard.round_trip_ms:.0f} ms from the player through speaker, room and microphone"
        f" (the devices state {devices_ms:.0f} ms)"
    )
    if heard.round_trip_ms > SLOW_MS:
        trip += ": long. A device with a wire is faster than Bluetooth"
    findings.append(Finding("latency", heard.round_trip_ms <= SLOW_MS, trip))
    echo = f"the microphone hears the speaker {heard.echo_db:+.0f} dB relative to what is played"
    if heard.echo_db > LOUD_ECHO_DB:
        echo += ": too loud. Lower the speaker's volume or the microphone's level"
    findings.append(Finding("echo level", heard.echo_db <= LOUD_ECHO_DB, echo))
    return findings


def _unmeasured(why: str) -> list[Finding]:
    return [Finding("latency", None, f"not measured: {why}"), Finding("echo level", None, why)]
