"""The web server of the door: a thread of its own, which the stage's loop never waits for.

The two sides leave each other work in queues. The loop takes commands with `take`, after a call of
``wake``; the server's thread is called with ``call_soon_threadsafe``. Nothing is shared beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import uvicorn

from services.monitor.app import PUBLIC, application
from services.monitor.commands import Command, Outcome
from services.monitor.connections import Connections
from services.monitor.desk import Answer
from services.monitor.guard import Guard
from shared.door import token
from shared.private import open_own
from shared.settings import Monitor

#: The Unix socket, in the bus directory.
SOCKET = "monitor.sock"
#: The file in the bus directory that holds the page's address.
ADDRESS = "monitor.address"
#: How long the server may take to begin and to end, s.
BEGIN_S, END_S = 10.0, 0.5
#: How many commands wait for the loop at most. More of them would wait for a loop that is stopped.
MAX_COMMANDS = 64


class Door:
    """The web server. ``wake`` wakes the stage's loop, and ``warn`` logs a line."""

    def __init__(
        self,
        directory: Path,
        settings: Monitor,
        wake: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._wake = wake
        self._warn = warn
        self._token = token(directory)
        #: The page's address; "": it listens on its Unix socket alone.
        self.address = ""
        self._commands: deque[tuple[Command, Answer]] = deque()
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()
        self._begun.wait(BEGIN_S)

    # on the stage's loop

    def take(self) -> tuple[Command, Answer] | None:
        """Return the oldest command that waits, with what to call with its outcome, or None."""
        return self._commands.popleft() if self._commands else None

    def keep_place(self) -> None:
        """Make the files again that somebody removed from the bus directory."""
        if not all((self._directory / name).exists() for name in (SOCKET, ADDRESS)):
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._listen_here()))

    def close(self) -> None:
        """End the server."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)
        for name in (SOCKET, ADDRESS):
            with contextlib.suppress(OSError):
                (self._directory / name).unlink()

    # on the server's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        answers = application(self._follow, self._directory)
        app = Guard(answers, self._token, PUBLIC, self._settings.hosts)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            http="h11",
            loop="asyncio",
            server_header=False,
            proxy_headers=False,
        )
        config.load()
        self._config, self._state = config, uvicorn.Server(config).server_state
        self._loop.run_until_complete(self._listen())
        self._begun.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        if self._settings.listen:
            try:
                await self._listen_on_tcp()
            except (OSError, ssl.SSLError) as error:
                self._warn(
                    f"the door is open on its Unix socket only: {self._settings.listen}: {error}:"
                    " see [monitor] in config.toml"
                )
        await self._listen_here()

    async def _listen_on_tcp(self) -> None:
        settings = self._settings
        context = _tls(settings.certificate) if settings.certificate else None
        listening = self._bound()
        kept = Connections(self._config, self._state)
        self._servers.append(
            await self._loop.create_server(kept.protocol, sock=listening, ssl=context)
        )
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if context else 'http'}://{host}:{port}/"

    def _bound(self) -> socket.socket:
        """Return a socket on the port in the settings, or on a free one if that port is taken."""
        family = socket.AF_INET6 if ":" in self._settings.listen else socket.AF_INET
        for port in dict.fromkeys((self._settings.port, 0)):
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((self._settings.listen, port))
            except OSError:
                listening.close()
                if not port:
                    raise
            else:
                return listening
        raise OSError("no port")

    async def _listen_here(self) -> None:
        path = self._directory / SOCKET
        if not path.exists():
            kept = Connections(self._config, self._state)
            self._servers.append(await self._loop.create_unix_server(kept.protocol, path))
            path.chmod(0o600)
        with os.fdopen(open_own(self._directory / ADDRESS), "w") as file:
            file.write(f"{self.address}\n")

    async def _follow(self, command: Command) -> Outcome:
        if len(self._commands) >= MAX_COMMANDS:
            return Outcome(done=False, outcome="monitor is busy: try again")
        coming: asyncio.Future[Outcome] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not coming.done():
                coming.set_result(outcome)

        def answer(outcome: Outcome) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(settle, outcome)

        self._commands.append((command, answer))
        self._wake()
        return await coming


def _tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(certificate).expanduser())
    return context
