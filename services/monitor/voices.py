"""Reads both voices from the bus while a watcher wants them: a thread of its own.

Frames come a hundred times a second. While nobody asks for them, they are not even subscribed to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.monitor.levels import SOUND, Levels, Voice
from services.monitor.watcher import LEVELS, VOICES
from shared import bus, messages, registry
from shared.network import Network
from shared.poller import Poller

#: The longest wait for a frame, s: how soon the thread notices that it was asked to end.
WAIT_S = 0.2
#: How long frames gather before they are read, s, while only levels are wanted. To wake for each
#: frame would cost as much as all the rest. Some seconds of frames fit into the queue.
GATHER_S = 0.2


class Voices:
    """The voices. ``tell`` takes the levels, ``tell_sound`` the sound; any thread calls them."""

    def __init__(
        self,
        directory: Path,
        network: Network,
        tell: Callable[[dict[str, Any], str], None],
        tell_sound: Callable[[bytes], None],
    ) -> None:
        self._directory = directory
        self._network = network
        self._tell = tell
        self._tell_sound = tell_sound
        self._wants: frozenset[str] = frozenset()
        self._thread: threading.Thread | None = None

    def want(self, wants: frozenset[str]) -> None:
        """From now on, read the wanted kinds: LEVELS, VOICES, both or neither."""
        self._wants = wants
        if wants and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._read, name="voices", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._wants = frozenset()
        if self._thread is not None:
            self._thread.join(2 * WAIT_S)

    def _read(self) -> None:
        rows = [registry.of(messages.MicClean), registry.of(messages.SpeakerFrame)]
        subscriber = bus.Subscriber(rows, self._directory, self._network, observer=True)
        poller = Poller()
        for socket in subscriber.sockets:
            poller.watch(socket)
        person, assistant = Levels("person"), Levels("assistant")
        while self._wants:
            if VOICES not in self._wants:
                time.sleep(GATHER_S)
            ready = poller.wait(WAIT_S)
            while (delivery := subscriber.receive(ready)) is not None:
                match delivery.message:
                    case messages.MicClean(captured_ns=at_ns, payload=pcm):
                        self._pass_on("person", person, pcm, at_ns)
                    case messages.SpeakerFrame(played_ns=at_ns, payload=pcm):
                        self._pass_on("assistant", assistant, pcm, at_ns)
            for levels in (person, assistant):
                if (change := levels.take()) is not None:
                    self._tell(change, LEVELS)
        subscriber.close()

    def _pass_on(self, voice: Voice, levels: Levels, pcm: bytes, at_ns: int) -> None:
        wants = self._wants
        if LEVELS in wants:
            levels.add(pcm, at_ns)
        if VOICES in wants:
            self._tell_sound(SOUND[voice] + pcm)
