"""Whether there is an echo at all: with headphones there is none. Pure."""

from __future__ import annotations

#: A far end above this power, full scale 1 (-40 dBFS), has to leave an echo if there is one.
_LOUD_FAR = 1e-4
#: Evidence against an echo is counted in frames: from this many on there is none. The count ends
#: at _MOST, so that an echo that comes later is believed within seconds.
_ABSENT, _MOST = 40, 80
#: An echo arrives within this many frames, 300 ms, after the first far end.
_ON_ITS_WAY = 15
#: The filter needs this many frames until it would have found an echo in a person's voice.
_FILTER_FRAMES = 40
#: The predicted echo is no echo if it has less than this share of the microphone's power.
_NOTHING = 0.1
#: The predicted echo is an echo if it has more than this share, and its gain is right.
_FOUND = 0.25
#: This many more frames with an echo than without show that headphones were unplugged. A person's
#: voice resembles the assistant's for a few frames in a row.
_UNPLUGGED = 15


class EchoPresence:
    """Counts the frames in which a loud far end leaves nothing in the microphone."""

    def __init__(self) -> None:
        self.absent = False  # the far end was heard for a while and left no echo
        self._evidence = 0  # frames without an echo, less those with one
        self._echoes = 0  # while absent: frames with an echo, less those without

    def add(
        self,
        *,
        frames: int,
        far_power: float,
        near_power: float,
        echo_power: float,
        near_loud: bool,
        learnt: bool,
        gain_right: bool,
    ) -> bool:
        """Add a frame with a far end; return whether ``absent`` has changed.

        ``frames`` is the number of frames with a far end so far. ``near_loud``: the microphone is
        louder than the room's noise. ``learnt``: the echo is known. ``gain_right``: the predicted
        echo is as loud as the true one. Powers are mean powers, full scale 1.
        """
        due = far_power > _LOUD_FAR and frames > _ON_ITS_WAY
        if not near_loud:
            self._evidence = min(_MOST, self._evidence + due)
        elif not learnt and echo_power < _NOTHING * near_power:
            # A person speaks, and the filter, which has had its time, finds no echo in their voice.
            self._evidence = min(_MOST, self._evidence + 2 * (due and frames > _FILTER_FRAMES))
        elif echo_power > _FOUND * near_power and gain_right:
            self._echoes += 1
            if not self.absent:
                self._evidence = max(0, self._evidence - _MOST // 8)
            elif self._echoes >= _UNPLUGGED:
                self._evidence = 0
        else:
            self._echoes = max(0, self._echoes - 1)
        before, self.absent = self.absent, self._evidence >= _ABSENT
        return self.absent != before
