"""A pipe through which any thread wakes a loop that waits for descriptors."""

from __future__ import annotations

import os
import select


class Waker:
    """A pipe that never blocks. The loop watches ``descriptor``, and calls ``drain`` for it."""

    def __init__(self) -> None:
        self.descriptor, self._end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._end, False)

    def wake(self) -> None:
        """Wake the loop. Any thread may call this, also after ``close``."""
        try:
            os.write(self._end, b"w")
        except OSError:
            # A full pipe wakes the loop as well. A closed pipe means that the loop has ended.
            pass

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as the loop is woken."""
        select.select([self.descriptor], [], [], seconds)

    def drain(self) -> None:
        """Read what woke the loop, so that the descriptor is no longer readable."""
        try:
            os.read(self.descriptor, 4096)
        except BlockingIOError:
            pass  # an earlier round has read it

    def close(self) -> None:
        """Close both ends."""
        os.close(self.descriptor)
        # A thread that did not stop in time may still call wake(): it must not write to whatever
        # gets the same number next.
        end, self._end = self._end, -1
        os.close(end)
