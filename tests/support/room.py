"""A simulated room with a loudspeaker, a microphone and a person, in the place of ``capture``.

    python -m tests.support.room --set capture.device=file:ROOM [--set section.key=value]

The microphone hears two sounds: the audio that playback gave to the speaker (``speaker.frame``),
through the room's impulse response, and the person. The room publishes it as ``mic.frame``, as
capture does. The person first speaks together with the assistant's first sound, and again each time
that the assistant has been silent and has then spoken for 2.5 s.

The room publishes a frame when three conditions hold: the frame's time has come, the room knows
what the speaker played during the frame, and ``echo`` has published the frame before. So a busy
machine delays the microphone, but it neither moves the echo nor leaves the canceller without the
far end.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import rooms
from harness.acoustics import responses
from shared import messages, registry
from shared.audio import pcm
from shared.bus import Delivery
from shared.run import run
from shared.stage import Stage

Sound = NDArray[np.float32]

FRAME_NS = pcm.samples_to_ns(pcm.FRAME)
#: How often the room checks whether a frame can be published, s.
LOOK_S = 0.005
#: How much of the far end after a frame the canceller also reads, ns.
AHEAD_NS = 2_000_000
#: The room does not wait for a stage that has published nothing for this long, ns.
GONE_NS = 1_000_000_000
#: The level of the room's noise.
NOISE_DBFS = -65.0
#: How much of a later reply the person hears before speaking, samples.
LISTENS = 5 * pcm.RATE // 2
#: The longest conversation, s.
LONGEST_S = 150


class Air:
    """The sound in the room. Positions are samples since the room began. No clock, no bus."""

    def __init__(self, response: Sound, person: Sequence[Sound]) -> None:
        #: Samples of the speaker that arrived after the frame in which they would be heard.
        self.too_late = 0
        self._next = deque(person)
        self._length = len(response)
        self._size = 1 << (self._length + pcm.FRAME).bit_length()
        self._response = np.fft.rfft(response, self._size)
        self._far, self._near = (np.zeros(LONGEST_S * pcm.RATE, np.float32) for _ in range(2))
        #: The end of the last frame of the microphone.
        self._done = 0
        #: Where the person falls silent.
        self._said = 0
        #: How much of the assistant the person heard since its last silence; -1 until that silence.
        self._heard = LISTENS
        self._chance = np.random.default_rng(1)

    def play(self, at: int, samples: NDArray[np.int16]) -> None:
        """Let the speaker play samples, s16, at a position."""
        if at < 0:
            return
        here = self._far[at : at + len(samples)]
        here[:] = samples[: len(here)]
        here *= 1 / 32768
        if samples.any():
            self.too_late += max(0, min(self._done - at, len(samples)))
            self._heard += len(samples) if self._heard >= 0 else 0
        elif at >= self._said > 0:
            self._heard = 0
        if self._heard > LISTENS and self._next:
            said = self._next.popleft()
            begin, self._said = at, at + len(said)
            place = self._near[begin : self._said]
            place[:] = said[: len(place)]
            self._heard = -1

    def frame(self, at: int) -> NDArray[np.int16]:
        """Return the microphone's frame at a position, s16."""
        self._done = at + pcm.FRAME
        heard = np.zeros(self._length + pcm.FRAME, np.float32)
        before = min(at, self._length)
        played = self._far[at - before : self._done]
        heard[self._length - before :][: len(played)] = played
        sound = np.fft.irfft(np.fft.rfft(heard, self._size) * self._response)
        sound = sound[self._length : self._length + pcm.FRAME] + self._near[at : self._done]
        sound += self._chance.standard_normal(pcm.FRAME) * responses.level(NOISE_DBFS)
        samples: NDArray[np.int16] = np.rint(sound.clip(-1, 1) * 32767).astype(np.int16)
        return samples


class Room:
    """The stage that publishes the room's sound as the microphone's frames."""

    def __init__(self, stage: Stage, air: Air) -> None:
        self._stage, self._air = stage, air
        self._begin_ns = time.monotonic_ns()
        self._stream = time.time_ns() // 1000
        self._frames = 0
        #: The room knows what the speaker played until this time.
        self._known_ns = 0
        #: Whether playback publishes frames.
        self._present = False
        #: The position after the last frame that echo published.
        self._cleaned = 0
        self._published_ns = self._begin_ns
        stage.subscribe(messages.SpeakerFrame, self._on_speaker)
        stage.subscribe(messages.MicClean, self._on_clean)
        stage.every(LOOK_S, self._take)
        stage.state = "a room"

    def _on_speaker(self, delivery: Delivery[messages.SpeakerFrame]) -> None:
        frame = delivery.message
        samples = pcm.to_array(frame.payload)
        # Rounding is exact: the file devices of these tests play to the nanosecond.
        at = round((frame.played_ns - self._begin_ns) * pcm.RATE / 1e9)
        self._air.play(at, samples)
        self._known_ns = frame.played_ns + pcm.samples_to_ns(len(samples))
        self._present = True
        self._stage.counters["too_late"] = self._air.too_late
        self._stage.counters["lost"] += delivery.lost
        self._take()

    def _on_clean(self, delivery: Delivery[messages.MicClean]) -> None:
        self._cleaned = delivery.message.position + pcm.FRAME
        self._take()

    def _take(self) -> None:
        """Publish the frames for which the three conditions in the module's docstring hold."""
        now_ns = time.monotonic_ns()
        while True:
            captured_ns = self._begin_ns + self._frames * FRAME_NS
            if captured_ns + FRAME_NS > now_ns:
                return
            if self._known_ns < captured_ns + FRAME_NS + AHEAD_NS:
                self._present = self._present and now_ns - captured_ns < GONE_NS
                if self._present:
                    return
            position = self._frames * pcm.FRAME
            if self._cleaned < position and now_ns - self._published_ns < GONE_NS:
                return
            self._published_ns = now_ns
            self._stage.publish(
                messages.MicFrame(
                    stream=self._stream,
                    position=position,
                    captured_ns=captured_ns,
                    overflows=0,
                    payload=self._air.frame(position).tobytes(),
                )
            )
            self._frames += 1


def together(sounds: Iterable[tuple[float, rooms.Sound]]) -> rooms.Sound:
    """Return one sound that contains all sounds, each beginning at its time in s."""
    placed = [(round(at_s * pcm.RATE), sound) for at_s, sound in sounds]
    whole = np.zeros(max(at + len(sound) for at, sound in placed))
    for at, sound in placed:
        whole[at : at + len(sound)] += sound
    return whole


def furnish(
    path: Path,
    assistant: NDArray[np.int16],
    person: Sequence[rooms.Sound],
    *,
    echo_db: float,
    reverb_s: float = 0.4,
    delay_ms: float = 60.0,
) -> None:
    """Write a room to a file, for ``capture.device``.

    ``assistant`` is a sample of the assistant's speech; its echo is ``echo_db`` louder than the
    person. ``person`` are the person's utterances, with 1 as a person's normal level.
    """
    response = rooms.response(np.random.default_rng(3), reverb_s, delay_ms)
    echo = responses.convolved(assistant / 32768, response)
    response *= responses.level(rooms.NEAR_DBFS + echo_db) / responses.active_rms(echo)
    said = [(sound * responses.level(rooms.NEAR_DBFS)).astype(np.float32) for sound in person]
    with path.open("wb") as file:
        np.savez(file, response.astype(np.float32), *said)


def main() -> int:
    """Run the room as the stage ``capture``."""

    def set_up(stage: Stage) -> Room:
        with np.load(stage.config.capture.device.removeprefix("file:")) as room:
            response, *person = (room[name] for name in room.files)
        return Room(stage, Air(response, person))

    # The room also reads what the speaker plays, which no capture does.
    row = registry.stage("capture")
    registry.BY_STAGE["capture"] = dataclasses.replace(row, reads=("speaker.frame", "mic.clean"))
    return run("capture", set_up, "A room in the place of a microphone.")


if __name__ == "__main__":
    raise SystemExit(main())
