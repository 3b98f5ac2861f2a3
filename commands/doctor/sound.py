"""The checks of the microphone and the speaker, and the level meter."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from commands.doctor import acoustics
from commands.doctor.findings import Finding
from shared import config
from shared.audio import devices, pcm
from shared.audio.device import DeviceError, InputDevice, OutputDevice

_D = TypeVar("_D", InputDevice, OutputDevice)

#: The stages that use the devices.
USERS = ("capture", "playback")
#: How much longer than the sound itself the test may take, s: a sound server can take 2 s to wake.
PATIENCE_S = 4.0
#: The meter shows the level this often, s, from this level on, dBFS, in this many characters.
METER_S, METER_DBFS, METER_WIDTH = 0.1, -60, 40


class _Trial:
    """Plays the test tones and records what the microphone hears meanwhile."""

    def __init__(self, microphone: InputDevice, speaker: OutputDevice) -> None:
        self._microphone, self._speaker = microphone, speaker
        self._sound = acoustics.programme().tobytes()
        self._played: list[acoustics.Block] = []
        self._position = 0
        self._recorded: list[bytes] = []
        self._blocks: list[acoustics.Block] = []
        self._count = 0
        self._ended = threading.Event()

    def run(self) -> acoustics.Measurement:
        """Play and record; return the measurement. Raises DeviceError."""
        try:
            self._microphone.start(self._on_block)
            self._speaker.start(self._render)
            if not self._ended.wait(acoustics.END_S + PATIENCE_S):
                why = self._microphone.failure() or self._speaker.failure()
                raise DeviceError(why or "a device is too slow: is the machine very busy?")
        finally:
            self._microphone.stop()
            self._speaker.stop()
        recorded = np.frombuffer(b"".join(self._recorded), "<i2")
        return acoustics.measure(recorded, self._blocks, self._played)

    def _render(self, samples: int, dac_ns: int) -> bytes:
        block = acoustics.Block(self._position, dac_ns, time.monotonic_ns())
        self._played.append(block)
        begin = self._position * pcm.SAMPLE_BYTES
        sound = self._sound[begin : begin + samples * pcm.SAMPLE_BYTES]
        self._position += samples
        self._watch()
        return sound.ljust(samples * pcm.SAMPLE_BYTES, b"\0")

    def _on_block(self, sound: bytes, adc_ns: int, _overflowed: bool) -> None:
        self._blocks.append(acoustics.Block(self._count, adc_ns, time.monotonic_ns()))
        self._recorded.append(sound)
        self._count += len(sound) // pcm.SAMPLE_BYTES
        self._watch()

    def _watch(self) -> None:
        needed = acoustics.END_S * pcm.RATE
        if self._position >= needed and self._count >= needed:
            self._ended.set()


def check(settings: config.Config, holders: Mapping[str, int], *, tone: bool) -> list[Finding]:
    """Return the findings about the devices. ``holders``: the stages that run, with their pids.

    ``tone``: whether to play the test tones.
    """
    running = [name for name in USERS if name in holders]
    if running:
        why = f"{' and '.join(running)} use the devices: run 'bargein stop' first"
        return [Finding("sound", None, f"not checked: {why}")]
    capture, playback = settings.capture, settings.playback
    microphone, heard_of = _open(
        "microphone", capture.device, lambda: devices.open_input(capture.device, capture.channel)
    )
    speaker, told_of = _open(
        "speaker", playback.device, lambda: devices.open_output(playback.device)
    )
    findings = [heard_of, told_of]
    if microphone is None or speaker is None or not tone:
        for opened in (microphone, speaker):
            if opened is not None:
                opened.stop()
        why = "that needs a microphone and a speaker" if tone else "--no-tone"
        return [*findings, Finding("latency", None, f"not measured: {why}")]
    stated_ms = (microphone.latency_ns + speaker.latency_ns) / 1e6
    try:
        heard = _Trial(microphone, speaker).run()
    except DeviceError as error:
        return [*findings, Finding("latency", False, f"not measured: {error}")]
    return [*findings, *acoustics.judge(heard, stated_ms)]


def _open(check: str, spec: str, opens: Callable[[], _D]) -> tuple[_D | None, Finding]:
    """Open a device of this machine. A file, which a test would overwrite, is left alone."""
    if spec != "auto" and not spec.startswith("portaudio:"):
        return None, Finding(check, None, f"not checked: it is {spec.partition(':')[0]!r}")
    try:
        device = opens()
    except DeviceError as error:
        help_text = "'bargein devices' lists what there is; bin/demo needs no device"
        return None, Finding(check, False, f"{error}. {help_text}")
    return device, Finding(check, True, device.description)


def meter(settings: config.Config, ended: threading.Event) -> int:
    """Show the microphone's level until ``ended``; return the exit code."""
    level = _Level()
    try:
        microphone = devices.open_input(settings.capture.device, settings.capture.channel)
        microphone.start(level.take)
    except DeviceError as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 1
    print(f"{microphone.description}. Ctrl-C ends.")
    # The filter of the output would escape the carriage return.
    out = getattr(sys.stdout, "unfiltered", sys.stdout)
    try:
        while not ended.wait(METER_S):
            if failure := microphone.failure():
                print(f"\ndoctor: {failure}", file=sys.stderr)
                return 1
            if sound := level.give():
                out.write(f"\r{bar(sound)}")
                out.flush()
    finally:
        microphone.stop()
        out.write("\n")
    return 0


class _Level:
    """The sound that came since ``give`` was last called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sound = bytearray()

    def take(self, sound: bytes, _adc_ns: int, _overflowed: bool) -> None:
        with self._lock:
            self._sound += sound

    def give(self) -> bytes:
        with self._lock:
            sound, self._sound = bytes(self._sound), bytearray()
        return sound


def bar(sound: bytes) -> str:
    """Return the meter for a piece of sound."""
    level = pcm.dbfs(sound)
    peak = int(np.abs(pcm.to_array(sound).astype(np.int32)).max(initial=0))
    share = max(0.0, min(1.0, 1 - level / METER_DBFS))
    filled = round(share * METER_WIDTH)
    clips = "CLIPS" if peak >= acoustics.CLIPPED else "     "
    return f"{'#' * filled:<{METER_WIDTH}} {level:6.1f} dBFS {clips}"
