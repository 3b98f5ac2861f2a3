"""Whether the assistant has the floor, so that speech over it can interrupt. Pure."""

from __future__ import annotations

#: A reply that is heard again after a gap of at most 300 ms was never over for the person.
MAX_GAP_NS = 300_000_000


class Floor:
    """Whether the assistant has the floor, since when, and when it last had it.

    The assistant has the floor while the person hears a reply, while the server generates one that
    was not interrupted, and while downlink waits for one that it asked for.
    """

    def __init__(self) -> None:
        self.taken = False
        #: When the assistant took the floor; a short gap in a reply does not change it.
        self.taken_ns = 0
        #: When the assistant last lost or left the floor.
        self.left_ns = 0
        self._playing = self._generating = False

    def assistant(self, *, playing: bool, generating: bool) -> None:
        """Note what the assistant does; `update` draws the conclusion.

        ``playing``: the person hears a reply. ``generating``: the server generates a reply that was
        not interrupted.
        """
        self._playing, self._generating = playing, generating

    def update(self, now_ns: int, *, awaited: bool) -> None:
        """Decide whether the assistant has the floor now.

        ``awaited``: a response was asked for, has not begun, and is to be heard.
        """
        taken = self._playing or self._generating or awaited
        if taken and not self.taken and now_ns - self.left_ns > MAX_GAP_NS:
            self.taken_ns = now_ns
        if self.taken and not taken:
            self.left_ns = now_ns
        self.taken = taken

    def interrupt(self, now_ns: int) -> None:
        """Take the floor from the assistant."""
        self.taken, self.left_ns = False, now_ns
        self.silence()

    def silence(self) -> None:
        """Note that a flush ended whatever was played or generated."""
        self._playing = self._generating = False
