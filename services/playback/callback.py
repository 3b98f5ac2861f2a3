"""The part of playback that runs on the device's thread.

The device calls `Callback.render` on a thread of its own. Only that thread uses the player and
lowers the audio; while no device is open, the loop does both. The loop hands in flushes, audio and
tones, and takes out what was played and reported. All of that goes through deques, so the two
threads never wait for each other.

Pure: the clock and the list of subscribed topics are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.playback.device_calls import DeviceCalls
from services.playback.duck import Duck
from services.playback.player import Player
from services.playback.volume import Volume
from shared import messages, registry
from shared.audio.pcm import FRAME, ms_to_samples
from shared.config import Config

#: Publish the playhead after this many samples (100 ms). Ten times a second is exact enough for a
#: reader that has to know what was heard before playback died.
HEARD_EVERY = 5 * FRAME
#: How many chunks of audio one callback takes from the loop at most. More of them could take longer
#: than the device's buffer lasts, so a long reply in one burst takes several callbacks.
CHUNKS_PER_CALLBACK = 128
#: How many bytes of audio may wait for the callback. The callback normally takes all of it within
#: a second, so more means that the device is stuck.
MAX_WAITING_BYTES = 64 * 1024 * 1024
#: The most items that a FlushReport holds.
MAX_REPORTED_ITEMS = 64

SPEAKER_FRAME = registry.of(messages.SpeakerFrame).name
SPEAKER_CALLS = registry.of(messages.SpeakerCalls).name


#: What the device was given at one call: the audio (mono s16le at 24 kHz), when its first sample is
#: at the converter (ns), and that sample's position (samples since the device was opened). A plain
#: tuple: the callback makes 200 of them a second, and a NamedTuple takes five times as long.
Block = tuple[bytes, int, int]


class Subscriptions(Protocol):
    """The stage's publisher, as the callback uses it."""

    @property
    def subscribed(self) -> frozenset[str]:
        """The names of the topics that somebody subscribes to."""


@dataclass(frozen=True)
class _Flush:
    message: messages.Flush
    sent_ns: int
    received_ns: int


class Callback:
    """The device's callback, and its mailbox.

    ``clock`` returns CLOCK_MONOTONIC in ns. ``wake`` is called on the device's thread when there is
    something for the loop to publish.
    """

    def __init__(
        self,
        config: Config,
        duck: Duck,
        subscriptions: Subscriptions,
        clock: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        settings = config.playback
        self.player = Player(0, ms_to_samples(settings.jitter_ms), ms_to_samples(settings.fade_ms))
        self._output = self.player.output
        self._fade_ns = settings.fade_ms * 1_000_000
        self._duck = duck
        #: The volume of the reply. The loop sets the volume that the person wants.
        self.volume = Volume(settings.volume)
        self._subscriptions = subscriptions
        self._clock = clock
        self._wake = wake
        # from the loop
        self._flushes: deque[_Flush] = deque()
        self._audio: deque[messages.ReplyAudio] = deque()
        self._tones: deque[bytes] = deque()
        # Two counters of one writer each, so that neither needs a lock: the bytes of audio that
        # the loop ever handed in, and those that the callback ever took.
        self._bytes_in = self._bytes_taken = 0
        # to the loop
        self._blocks: deque[Block] = deque()
        self._reports: deque[messages.FlushReport] = deque()
        #: Where the playhead is, as of the last callback that changed it noticeably.
        self.heard = self._heard_now()
        self._heard_changed = False  # the loop has not taken `heard` since it changed
        #: The calls of the device, noted while somebody subscribes to them.
        self.calls = DeviceCalls()
        # on the device's thread
        self._position = 0  # samples since the device was opened
        self._samples_since_wake = 0
        self._samples_since_heard = 0  # counted only while something plays

    # on the loop

    def restart(self) -> None:
        """Begin with a newly opened device, whose positions count from 0."""
        self._position = 0
        self._blocks.clear()

    def flush(self, flush: messages.Flush, sent_ns: int, received_ns: int) -> None:
        """Hand in a flush: when it was published, and when this process read it, ns."""
        self._flushes.append(_Flush(flush, sent_ns, received_ns))

    def audio(self, chunk: messages.ReplyAudio) -> bool:
        """Hand in a chunk of audio. Return False, and drop it, if too much audio waits."""
        if self._bytes_in - self._bytes_taken > MAX_WAITING_BYTES:
            return False
        self._audio.append(chunk)
        self._bytes_in += len(chunk.payload)
        return True

    def tone(self, tone: bytes) -> None:
        """Hand in a tone, s16le, to be played once nothing else plays."""
        self._tones.append(tone)

    @property
    def audio_waits(self) -> bool:
        """Whether the device has not yet taken all audio that was handed in."""
        return bool(self._audio)

    def take_report(self) -> messages.FlushReport | None:
        """Return the oldest flush report that was not taken yet, or None."""
        return self._reports.popleft() if self._reports else None

    def take_block(self) -> Block | None:
        """Return the oldest block that was not taken yet, or None."""
        return self._blocks.popleft() if self._blocks else None

    def take_heard_changed(self) -> bool:
        """Return whether `heard` is due to be published."""
        if not self._heard_changed:
            return False
        # Clear the flag before `heard` is read: the device's thread may set it again at any time.
        self._heard_changed = False
        return True

    # on the device's thread; on the loop while there is no device

    def apply(self, dac_ns: int, now_ns: int) -> None:
        """Hand the loop's flushes, audio and tones on to the player, flushes first.

        ``dac_ns``: when the next sample is at the converter.
        """
        while self._flushes:
            self._apply_flush(self._flushes.popleft(), dac_ns, now_ns)
        for _ in range(min(len(self._audio), CHUNKS_PER_CALLBACK)):
            self._apply_audio(self._audio.popleft(), dac_ns, now_ns)
        if self._tones:
            self.player.cue(self._tones.popleft())

    def apply_without_device(self, now_ns: int) -> None:
        """Do the work of ``apply`` on the loop while there is no device."""
        self.apply(now_ns, now_ns)
        if self._output.playing and not self.heard.playing:
            # The reply is played once there is a device: downlink must not take it for abandoned.
            self.heard = self._heard_now()
            self._heard_changed = True

    def _apply_flush(self, flush: _Flush, dac_ns: int, now_ns: int) -> None:
        message = flush.message
        cut = self.player.flush(message.generation, message.received, message.interrupted)
        if cut is not None:
            self._report(message, flush.sent_ns, flush.received_ns, dac_ns, now_ns, cut)

    def _apply_audio(self, chunk: messages.ReplyAudio, dac_ns: int, now_ns: int) -> None:
        self._bytes_taken += len(chunk.payload)
        cut = self.player.push(chunk)
        if chunk.last and not self._output.playing:
            # The item was played out before. Nothing else would publish that it is done.
            self.heard = self._heard_now()
            self._heard_changed = True
        if cut:
            # Audio of a newer generation came before its flush.
            lost = messages.Flush(
                generation=chunk.generation,
                session=self.player.session,
                cause="lost flush",
                event_ns=0,
                received=[],
                interrupted=[],
                active=[],
            )
            self._report(lost, 0, now_ns, dac_ns, now_ns, cut)

    # on the device's thread

    def render(self, samples: int, dac_ns: int) -> bytes:
        """Return the device's next ``samples`` samples, mono s16le at 24 kHz.

        ``dac_ns``: CLOCK_MONOTONIC ns at which the first of them will be at the converter.
        """
        now_ns = self._clock()
        if SPEAKER_CALLS in self._subscriptions.subscribed:
            self.calls.made(now_ns, dac_ns, self._position, samples)
        if self._flushes or self._audio or self._tones:
            self.apply(dac_ns, now_ns)
        output = self._output
        was_playing = output.playing
        out = self._sound(samples, now_ns)
        if SPEAKER_FRAME in self._subscriptions.subscribed:
            self._blocks.append((out, dac_ns, self._position))
        self._position += samples
        # A device may ask some 200 times a second. Waking the loop once per frame of 20 ms is
        # enough for everything that is not urgent.
        self._samples_since_wake += samples
        frame_due = self._samples_since_wake >= FRAME
        if frame_due:
            self._samples_since_wake %= FRAME
        if was_playing:
            self._samples_since_heard += samples
            starts_or_stops = not (output.playing and self.heard.playing)
            if starts_or_stops or (frame_due and self._samples_since_heard >= HEARD_EVERY):
                self._samples_since_heard = 0
                self.heard = self._heard_now()
                self._heard_changed = True
        if self._heard_changed or self._reports or (frame_due and self._blocks):
            self._wake()
        return out

    def _sound(self, samples: int, now_ns: int) -> bytes:
        """Return the next samples, after the duck and the volume."""
        duck, volume = self._duck, self.volume
        if duck.wanted or duck.level < 1.0:
            out = duck.render(self._output, samples, now_ns)
        else:
            out = self._output.render(samples)
        if volume.wanted != 1.0 or volume.level != 1.0:
            out = volume.render(out)
        return out

    def _report(
        self,
        flush: messages.Flush,
        sent_ns: int,
        received_ns: int,
        dac_ns: int,
        now_ns: int,
        items: list[messages.HeardItem],
    ) -> None:
        onset_ns = self._duck.onset_ns(flush.cause, received_ns)
        # Set before the report is appended: the loop publishes `heard` before each report.
        self.heard = self._heard_now()
        self._reports.append(
            messages.FlushReport(
                generation=flush.generation,
                session=flush.session,
                cause=flush.cause,
                event_ns=flush.event_ns,
                flush_ns=sent_ns,
                received_ns=received_ns,
                silent_ns=now_ns + (self._fade_ns if self.player.fading else 0),
                latency_ns=max(0, dac_ns - now_ns),
                items=items[-MAX_REPORTED_ITEMS:],
                onset_ns=onset_ns,
                ducked_ns=self._duck.ducked_ns if onset_ns else 0,
            )
        )

    def _heard_now(self) -> messages.Heard:
        player = self.player
        return messages.Heard(
            generation=player.generation,
            session=player.session,
            playing=self._output.playing,
            items=player.items(),
        )
