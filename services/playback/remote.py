"""The callback of a device that holds audio ahead and can give it back: a page in a browser. Pure.

Audio that such a device is given is not heard yet. It counts as heard, and is published as
``speaker.frame``, when the device reports that it was played. Before a flush is applied, the device
takes back what it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.playback.ahead import Ahead
from services.playback.callback import (
    CHUNKS_PER_CALLBACK,
    HEARD_EVERY,
    SPEAKER_FRAME,
    Callback,
    Subscriptions,
)
from services.playback.duck import Duck
from shared import messages
from shared.audio.pcm import FRAME, RATE, samples_to_ns
from shared.config import Config

#: A device that had nothing to play for longer than 1 s leaves a gap in ``speaker.frame``. Shorter
#: silence is published.
_LONGEST_SILENCE = RATE


class RemoteCallback(Callback):
    """The callback and its mailbox, for a device that holds audio ahead."""

    def __init__(
        self,
        config: Config,
        duck: Duck,
        subscriptions: Subscriptions,
        clock: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(config, duck, subscriptions, clock, wake)
        self._ahead = self._output.ahead = Ahead()
        # audio that the device was given and has not played, with its position
        self._held: deque[tuple[bytes, int]] = deque()
        self._played = 0  # the position up to which the device has played
        self._silence = 0  # samples of silence that the device played because it had nothing else
        #: Has the device check `must_recall` at once. Any thread may call this.
        self.check_recall_now: Callable[[], None] = lambda: None

    # on the loop

    def restart(self) -> None:
        """Begin with a newly opened device, whose positions count from 0."""
        super().restart()
        self._output.take_back(0)
        self._held.clear()
        self._played = self._silence = 0

    def flush(self, flush: messages.Flush, sent_ns: int, received_ns: int) -> None:
        """Hand in a flush: when it was published, and when this process read it, ns."""
        super().flush(flush, sent_ns, received_ns)
        self.check_recall_now()

    def audio(self, chunk: messages.ReplyAudio) -> bool:
        """Hand in a chunk of audio. Return False, and drop it, if too much audio waits."""
        taken = super().audio(chunk)
        if self._is_newer(chunk.generation):
            self.check_recall_now()
        return taken

    # on the device's thread

    @property
    def must_recall(self) -> bool:
        """Whether the device must fall silent: a flush waits, or audio whose flush was lost."""
        # The loop may append at any time, so look at single places only. A flush that is not newer
        # is applied soon, and then the one behind it is the first.
        waiting = (self._flushes[0].message, self._flushes[-1].message) if self._flushes else ()
        if any(self._is_newer(flush.generation) for flush in waiting):
            return True
        return bool(self._audio) and self._is_newer(self._audio[0].generation)

    def render(self, samples: int, dac_ns: int) -> bytes:
        """Return the device's next ``samples`` samples, mono s16le at 24 kHz.

        ``dac_ns``: CLOCK_MONOTONIC ns at which the first of them will be at the converter.
        """
        now_ns = self._clock()
        if self._flushes or self._audio or self._tones:
            self._apply_without_flush(dac_ns, now_ns)
        self._ahead.position = self._position
        out = self._sound(samples, now_ns)
        if SPEAKER_FRAME in self._subscriptions.subscribed:
            self._held.append((out, self._position))
        self._position += samples
        return out

    def played(self, position: int, at_ns: int, silence: int) -> None:
        """Count the samples before ``position`` as heard.

        ``at_ns``: when the sample at ``position`` is at the converter. ``silence``: how many more
        samples of silence the device has played before it, because it had nothing else.
        """
        was_playing = self._output.playing
        self._ahead.played(position)
        samples, self._played = position - self._played, position
        self._publish_held(position, at_ns - samples_to_ns(silence))
        if 0 < silence <= _LONGEST_SILENCE and SPEAKER_FRAME in self._subscriptions.subscribed:
            begins = position + self._silence
            self._blocks.append((bytes(2 * silence), at_ns - samples_to_ns(silence), begins))
        self._silence += silence
        self._tell(samples, was_playing=was_playing)

    def take_back(self, position: int, at_ns: int) -> None:
        """Queue the samples from ``position`` on again, apply the flushes, and go on there.

        ``at_ns``: when the next sample is at the converter.
        """
        self._output.take_back(position)
        while self._held and self._held[-1][1] >= position:
            self._held.pop()
        if self._held:
            audio, begins = self._held[-1]
            self._held[-1] = (audio[: (position - begins) * 2], begins)
        self._played = self._position = position
        self.apply(at_ns, self._clock())
        self.heard = self._heard_now()
        self._heard_changed = True
        self._wake()

    def _is_newer(self, generation: int) -> bool:
        return self.player.generation < generation <= messages.LAST_GENERATION

    def _apply_without_flush(self, dac_ns: int, now_ns: int) -> None:
        """Apply flushes and audio that end nothing; the rest waits for the device's audio."""
        while self._flushes and not self._is_newer(self._flushes[0].message.generation):
            self._apply_flush(self._flushes.popleft(), dac_ns, now_ns)
        for _ in range(min(len(self._audio), CHUNKS_PER_CALLBACK)):
            if self._is_newer(self._audio[0].generation):
                return
            self._apply_audio(self._audio.popleft(), dac_ns, now_ns)
        if self._tones:
            self.player.cue(self._tones.popleft())

    def _publish_held(self, position: int, at_ns: int) -> None:
        """Publish the audio before ``position``, whose sample is due at ``at_ns``."""
        held = self._held
        while held and held[0][1] < position:
            audio, begins = held.popleft()
            samples = position - begins
            if len(audio) > samples * 2:
                held.appendleft((audio[samples * 2 :], position))
                audio = audio[: samples * 2]
            self._blocks.append((audio, at_ns - samples_to_ns(samples), begins + self._silence))

    def _tell(self, samples: int, *, was_playing: bool) -> None:
        """Note that `heard` is due, and wake the loop if there is something to publish."""
        self._samples_since_wake += samples
        frame_due = self._samples_since_wake >= FRAME
        self._samples_since_wake %= FRAME
        if was_playing:
            self._samples_since_heard += samples
            starts_or_stops = not (self._output.playing and self.heard.playing)
            if starts_or_stops or self._samples_since_heard >= HEARD_EVERY:
                self._samples_since_heard = 0
                self.heard = self._heard_now()
                self._heard_changed = True
        if self._heard_changed or self._reports or (frame_due and self._blocks):
            self._wake()
