"""What a microphone and a speaker are: two small interfaces.

They exist so that a stage can be tested, and run on a machine without sound: a file or nothing at
all takes the place of the device, at the same pace and with the same threads.

A device runs from ``start`` to ``stop``, and is not started again: open another (``devices``). What
goes wrong before it runs is a DeviceError; what goes wrong later is what ``failure`` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Kind = Literal["input", "output"]

#: ``on_block(pcm, adc_ns, overflowed)``: mono s16le at 24 kHz, of any length; the monotonic ns at
#: which its first sample was at the converter; whether samples were lost just before it.
OnBlock = Callable[[bytes, int, bool], None]

#: ``render(samples, dac_ns)``: gives exactly ``2 * samples`` bytes, mono s16le at 24 kHz;
#: ``dac_ns`` is the monotonic ns at which the first of them will be at the converter.
Render = Callable[[int, int], bytes]


class DeviceError(Exception):
    """Raised when a device cannot be opened or started: one line, what, where, and what to do."""


class InputDevice(Protocol):
    """A microphone, or what stands in for one."""

    description: str  # one line: which, at which rate, resampled or not, with which latency
    rate: int  # Hz the device truly runs at
    latency_ns: int  # from the converter to ``on_block``, resampling included

    def start(self, on_block: OnBlock) -> None:
        """Begin to call ``on_block``, on the device's own thread; DeviceError if it cannot."""

    def stop(self) -> None:
        """End within half a second, whatever the device does; again and at any time is harmless."""

    def failure(self) -> str | None:
        """Give None while all is well, before and after; else one line: why nothing comes."""


class OutputDevice(Protocol):
    """A speaker, or what stands in for one."""

    description: str  # one line: which, at which rate, resampled or not, with which latency
    rate: int  # Hz the device truly runs at
    latency_ns: int  # from ``render`` to the air, resampling included
    underflows: int  # how often the device had nothing to play

    def start(self, render: Render) -> None:
        """Begin to call ``render``, on the device's own thread; DeviceError if it cannot."""

    def stop(self) -> None:
        """End within half a second, whatever the device does; again and at any time is harmless."""

    def failure(self) -> str | None:
        """Give None while all is well, before and after; else one line: why nothing is played."""

    def warning(self) -> str | None:
        """Give, once, a line on what went wrong although it goes on; else None."""
