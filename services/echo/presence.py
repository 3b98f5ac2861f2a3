"""Whether anything in the microphone follows the far end, and how much later. Pure.

With headphones there is no echo. A filter that has found no echo proves nothing: the echo may come
at another time, or louder than the filter expects. So ``EchoPresence`` compares the phases of the
microphone with those of the far end at each delay up to a second. In a sound that does not follow
the far end the differences are random, whatever its loudness is.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from services.echo.spectra import Samples, Spectra

#: Without an echo the likeness at a delay is 1 on average. It is a mean over some 80 independent
#: frequencies, so it scatters by a ninth: more than 1.6, five deviations, is an echo, and less than
#: 1.33, three deviations, is chance. In between nothing new is concluded: the likeness falls where
#: the echo moves because a buffer runs empty. Seen without an echo: up to 1.3, whoever spoke. Seen
#: with an echo 10 dB below the room's noise, or 25 dB below a person: 1.8 and more after a second.
_FOLLOWS, _CHANCE = 1.6, 1.33
#: The last 100 compared frames with a far end decide, 2 s. With 500 ppm between the clocks the
#: echo's phase turns within that time, and the likeness is still above 2.
_KEPT = np.float32(1 - 1 / 100)
#: At each delay 25 frames, half a second, are compared before they prove that there is no echo.
_ENOUGH = 25
#: Compared frames between two conclusions.
_EVERY = 5
#: While there is an echo, each fourth frame is compared: the comparison costs as much as a third of
#: the filter.
_SAVED = 4


class EchoPresence:
    """Compares the microphone with the far end at each delay from 0 to ``delays`` - 1 frames."""

    def __init__(self, delays: int, bins: int) -> None:
        self.present = False  # proved: something in the microphone follows the far end
        self.absent = False  # proved: nothing does
        self.delay = 0  # if present: by how many frames the loudest part of the echo follows
        self._products: Spectra = np.zeros((delays, bins), np.complex64)
        self._powers: Samples = np.zeros((delays, bins), np.float32)
        self._scratch: Spectra = np.zeros((delays, bins), np.complex64)
        self._last: Spectra = np.zeros(bins, np.complex64)
        self._frames = 0  # with a far end
        self._compared = 0  # those of them that were compared
        self._confirmed = 0  # the value of _compared when the filter last predicted an echo
        self._silent = 0  # frames with a far end in a row in which the microphone was all zeros

    def forget(self) -> None:
        """Start again: the device is another one."""
        self.present = self.absent = False
        self.expect_later(0)

    def expect_later(self, frames: int) -> None:
        """Expect the echo ``frames`` later, and compare anew where it is."""
        self.delay = min(len(self._products) - 1, max(0, self.delay + frames))
        self._frames = self._compared = self._confirmed = self._silent = 0
        self._products[:] = 0
        self._powers[:] = 0

    def products(self) -> Spectra:
        """Return the last frame's products of the far end and the microphone at ``delay``."""
        return self._last

    def add_silence(self) -> None:
        """Take a frame in which the microphone has not a single bit of sound.

        The microphone is muted, or it removes its own noise and hears no echo. If this lasts longer
        than any delay, there is no echo, until a comparison finds one.
        """
        self._silent += 1
        if self._silent > len(self._products) and not self.present:
            self.absent = True

    def confirm(self) -> None:
        """Note that the filter predicts an echo. The proof that there is none starts again."""
        self._confirmed = self._compared

    def add(self, near: Spectra, far: Spectra, far_powers: Samples) -> None:
        """Take a frame.

        ``near`` is the microphone's spectrum, ``far`` and ``far_powers`` are the far end's last
        spectra, the newest first, one for each delay. All hold the same frequencies.
        """
        self._frames += 1
        self._silent = 0
        # Only the phases of the microphone count: a loud person weighs no more than a soft echo.
        phases = near / (np.abs(near) + np.float32(1e-9))
        self._last = far[self.delay].conj() * phases
        if self.present and self._frames % _SAVED:
            return
        np.conjugate(far, out=self._scratch)
        self._scratch *= phases
        self._products *= _KEPT
        self._products += self._scratch
        self._powers *= _KEPT * _KEPT
        self._powers += far_powers
        self._compared += 1
        if not self._compared % _EVERY:
            self._conclude()

    def _conclude(self) -> None:
        squares = cast("Samples", np.square(self._products.real) + np.square(self._products.imag))
        likeness = (squares / (self._powers + np.float32(1e-12))).mean(axis=1)
        # Within the first frames a delay has been compared too seldom to tell an echo from chance.
        if self._compared < 2 * _EVERY:
            return
        most = float(likeness.max())
        if most > _FOLLOWS:
            self.present, self.absent = True, False
            self.delay = int(np.argmax(likeness))
        elif most < _CHANCE and self._compared - self._confirmed >= len(likeness) + _ENOUGH:
            self.present, self.absent = False, True
