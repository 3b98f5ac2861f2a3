"""A WebSocket proxy that speaks to the server in the client's name.

The proxy forwards everything unchanged. ``speak`` appends recorded speech to the session all at
once, as if it came from the client's microphone, so that the server sends ``speech_started`` at a
chosen moment, independent of the microphone. ``hush`` appends the silence that ends the turn.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_to
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed

from harness import speech
from harness.waves import RATE, Samples

SPEECH_S = 0.4
#: A turn ends after this much silence, ms: longer than the benchmark listens, so that the
#: microphone's own silence does not end the turn sooner.
SILENCE_S = 6.0
_MAX_MESSAGE = 32 * 1024 * 1024
_APPEND_S = 0.1


class Prompter:
    """The proxy, on its own thread."""

    def __init__(self, server: str) -> None:
        """Forward to the real server, whose URL is ``server``."""
        self._server = server
        self._loop: asyncio.AbstractEventLoop
        self._closing = asyncio.Event()
        self._upstream: ClientConnection | None = None
        self._listening: Future[Server] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="prompter", daemon=True
        )
        word = speech.person(1)
        self._speech = _appends(word[: round(SPEECH_S * RATE)])
        self._silence = _appends(word[:0], round((SILENCE_S + 0.2) * RATE))

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """The URL for the client."""
        port = next(iter(self._listening.result().sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1/realtime"

    def speak(self) -> None:
        """Let the server hear somebody begin to speak."""
        asyncio.run_coroutine_threadsafe(self._say(self._speech), self._loop).result(10)

    def hush(self) -> None:
        """Let the server hear the end of the turn."""
        asyncio.run_coroutine_threadsafe(self._say(self._silence), self._loop).result(10)

    def forwards(self, message: str | bytes) -> None:
        """Inspect a message of the server just before the client gets it."""

    async def _say(self, messages: list[str]) -> None:
        assert self._upstream is not None, "no client is connected"
        for message in messages:
            await self._upstream.send(message)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with listen(
            self._serve, "127.0.0.1", 0, max_size=_MAX_MESSAGE, ping_interval=None, compression=None
        ) as server:
            self._listening.set_result(server)
            await self._closing.wait()

    async def _serve(self, client: ServerConnection) -> None:
        assert client.request is not None
        _, _, query = client.request.path.partition("?")
        async with connect_to(
            f"{self._server}?{query}",
            max_size=_MAX_MESSAGE,
            ping_interval=None,
            compression=None,
            proxy=None,
        ) as server:
            self._upstream = server
            upward = asyncio.create_task(_move(client, server))
            await _move(server, client, self.forwards)
            upward.cancel()
        await client.close()


async def _move(
    source: ClientConnection | ServerConnection,
    sink: ClientConnection | ServerConnection,
    look: Callable[[str | bytes], object] = lambda _: None,
) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in source:
            look(message)
            await sink.send(message)
        await sink.close()


def _appends(sound: Samples, silence: int = 0) -> list[str]:
    """Return the events that append a sound, and then ``silence`` samples of silence."""
    pcm = sound.tobytes() + bytes(2 * silence)
    step = 2 * round(_APPEND_S * RATE)
    return [
        json.dumps(
            {
                "type": "input_audio_buffer.append",
                "audio": base64.b64encode(pcm[at : at + step]).decode("ascii"),
            }
        )
        for at in range(0, len(pcm), step)
    ]
