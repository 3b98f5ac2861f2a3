"""A page in a browser that is a microphone or a speaker, in Python.

``PagePlayer`` plays messages as the page's worklet does. ``StandInPage`` connects to a stage as a
page does, and keeps real time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from shared import door
from shared.audio import pcm
from shared.audio.browser import wire
from tests.support.playing import Samples

#: Samples of a render quantum.
QUANTUM = 128
NOTHING: Samples = np.empty(0, np.int16)


def rendered(sound: Samples, clip: Samples) -> int:
    """Return how many samples of a clip were rendered the last time, up to a difference.

    Silence in between does not count: a page whose machine is busy has nothing to play for a while.
    The clip's first 200 samples may be faded.
    """
    everything = pcm.from_array(sound)
    probes = (slice(at, at + 200) for at in range(200, 2000, 200))
    found = next(p for p in probes if pcm.from_array(clip[p]) in everything)
    place = found.start
    at = everything.rindex(pcm.from_array(clip[found])) // pcm.SAMPLE_BYTES
    while True:
        length = min(len(clip) - place, len(sound) - at)
        same = clip[place : place + length] == sound[at : at + length]
        count = length if same.all() else int(np.argmin(same))
        place, at = place + count, at + count
        silent = int(np.argmax(sound[at:] != 0)) if at < len(sound) and sound[at:].any() else 0
        if count == 0 or not silent:
            return place
        at += silent


class PagePlayer:
    """The samples that a page holds and has rendered."""

    def __init__(self, position: int = 0) -> None:
        self.position = position  # of the first sample that is rendered next
        self.silence = 0  # samples of silence that were rendered because there was nothing else
        self.recall = 0  # the last recall that took effect
        self.rendered: list[Samples] = []
        self._held: Samples = NOTHING
        self._asked = 0  # the last recall that came

    def take(self, message: bytes | str) -> None:
        """Process a message of the server."""
        if isinstance(message, str):
            recall = msgspec.json.decode(message, type=wire.Recall)
            fade = self._held[: recall.fade]
            ramp = 1 - np.arange(len(fade)) / max(1, len(fade))
            self._held, self._asked = (fade * ramp).astype(np.int16), recall.id
        else:
            position, sound = wire.decode_audio(message)
            assert position == self.position + len(self._held)
            assert self._asked == self.recall, "no audio before the recall is answered"
            self._held = np.concatenate([self._held, pcm.to_array(sound)])

    def render(self, samples: int = QUANTUM) -> None:
        """Render one quantum."""
        out, self._held = self._held[:samples], self._held[samples:]
        self.rendered += [out, np.zeros(samples - len(out), np.int16)]
        self.position += len(out)
        self.silence += samples - len(out)
        if not len(self._held):
            self.recall = self._asked

    def report(self, clock_s: float) -> bytes:
        """Return the report that the page sends after a quantum."""
        return wire.encode_report(
            wire.PageReport(self.position, clock_s, self.silence, self.recall)
        )

    def sound(self) -> Samples:
        """Return all that was rendered."""
        return np.concatenate([NOTHING, *self.rendered])


@contextlib.contextmanager
def connecting(
    directory: Path, stage: str, token: str = "", origin: str = ""
) -> Iterator[ClientConnection]:
    """Connect to a stage as a page does."""
    protocols = [wire.PROTOCOL, wire.TOKEN_PREFIX + (token or door.token(directory))]
    with connect(
        f"ws://127.0.0.1:{door.port(directory, stage)}/",
        subprotocols=[Subprotocol(each) for each in protocols],
        origin=Origin(origin or "http://localhost:1234"),
        compression=None,
    ) as made:
        yield made


class StandInPage:
    """A page that is a stage's device. It renders and records by the clock of this machine.

    ``source`` returns the microphone's samples from one position to another, s16le. A speaker
    reports after every second quantum.
    """

    def __init__(
        self,
        directory: Path,
        stage: str,
        source: Callable[[int, int], bytes] | None = None,
        latency_ms: float = 0.0,
    ) -> None:
        self.player = PagePlayer()
        #: The close code, once the connection is closed.
        self.code = 0
        self._source = source
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._open = contextlib.ExitStack()
        self._connection: ClientConnection = self._open.enter_context(connecting(directory, stage))
        about = wire.About(latency_ms=latency_ms, label="stand-in")
        self._connection.send(msgspec.json.encode(about).decode())
        work = self._listen if source is None else self._speak
        self._threads = [threading.Thread(target=work, daemon=True)]
        if source is None:
            self._threads.append(threading.Thread(target=self._play, daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close the page, as a person does: nothing more is reported."""
        self._ending.set()
        self._open.close()
        for thread in self._threads:
            thread.join()

    def _paced(self, samples: int) -> bool:
        """Wait until the next samples are due. Return False at the end."""
        due = self._begun + (self._count + samples) / pcm.RATE
        self._count += samples
        return not self._ending.wait(max(0.0, due - time.monotonic()))

    def _play(self) -> None:
        self._begun, self._count = time.monotonic(), 0
        with contextlib.suppress(ConnectionClosed):
            while self._paced(2 * QUANTUM):
                with self._lock:
                    self.player.render()
                    self.player.render()
                    report = self.player.report(self._count / pcm.RATE)
                self._connection.send(report)

    def _listen(self) -> None:
        try:
            for message in self._connection:
                with self._lock:
                    self.player.take(message)
        except ConnectionClosed:
            pass
        self.code = self._connection.close_code or 0
        self._ending.set()

    def _speak(self) -> None:
        assert self._source is not None
        self._begun, self._count = time.monotonic(), 0
        with contextlib.suppress(ConnectionClosed):
            while self._paced(pcm.FRAME // 2):
                begin = self._count - pcm.FRAME // 2
                sound = self._source(begin, self._count)
                block = wire.PageBlock(begin, begin / pcm.RATE, sound)
                self._connection.send(wire.encode_block(block))
