"""The interfaces of a microphone and of a speaker.

The interfaces allow a file, or nothing at all, to take a device's place: in tests, and on a machine
without sound. A stand-in keeps the same pace and uses the same threads as a device.

A device runs from ``start`` to ``stop`` and is not started again: open another one with
``devices``. Opening and starting raise DeviceError. ``failure`` reports what goes wrong later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, Protocol

Kind = Literal["input", "output"]

#: ``on_block(pcm, adc_ns, overflowed)`` takes a block of any length, mono s16le at 24 kHz.
#: ``adc_ns`` is the monotonic time in ns at which its first sample was at the converter.
#: ``overflowed`` is True if samples were lost just before the block.
OnBlock = Callable[[bytes, int, bool], None]

#: ``render(samples, dac_ns)`` returns exactly ``2 * samples`` bytes, mono s16le at 24 kHz.
#: ``dac_ns`` is the monotonic time in ns at which the first sample will be at the converter.
Render = Callable[[int, int], bytes]


class DeviceError(Exception):
    """Raised when a device cannot be opened or started. Its text is one line: what to do."""


class DeviceAway(DeviceError):
    """Raised when another try only helps after an event."""

    #: The event, for people: "the sound system answers".
    until = ""

    def __init__(self, text: str, over: threading.Event) -> None:
        super().__init__(text)
        #: Set when another try can help.
        self.over = over


class DeviceHangs(DeviceAway):
    """Raised when the sound system does not answer. A device that opens late is closed again."""

    until = "the sound system answers"


class NoPage(DeviceAway):
    """Raised when no page in a browser is the device."""

    until = "a page is there"


class InputDevice(Protocol):
    """A microphone, or its stand-in."""

    description: str  # one line: name, rate, whether it is resampled, latency
    rate: int  # at which the device runs, Hz
    latency_ns: int  # from the converter to ``on_block``, with resampling

    def start(self, on_block: OnBlock) -> None:
        """Start calling ``on_block`` on the device's own thread. Raises DeviceError."""

    def stop(self) -> None:
        """Stop within half a second, even if the device hangs. May be called at any time."""

    def failure(self) -> str | None:
        """Return why the device gives no sound, in one line; None while it works or is stopped."""

    def fault(self) -> str | None:
        """Return in one line what is wrong with the sound that it gives; None if nothing is."""


class OutputDevice(Protocol):
    """A speaker, or its stand-in."""

    description: str  # one line: name, rate, whether it is resampled, latency
    rate: int  # at which the device runs, Hz
    latency_ns: int  # from ``render`` to the converter, with resampling
    underflows: int  # how often the device had nothing to play

    def start(self, render: Render) -> None:
        """Start calling ``render`` on the device's own thread. Raises DeviceError."""

    def stop(self) -> None:
        """Stop within half a second, even if the device hangs. May be called at any time."""

    def failure(self) -> str | None:
        """Return why the device plays nothing, in one line; None while it works or is stopped."""

    def warning(self) -> str | None:
        """Return once, in one line, what went wrong although the sound goes on; else None."""
