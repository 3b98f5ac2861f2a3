"""The sockets: WebSocket connections on loopback, each with a session of its own."""

from __future__ import annotations

import asyncio
import hmac
import http
import json
import logging
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from services.emulator.answers import Reset
from services.emulator.clips import Utterance, Voice, VoiceError
from services.emulator.options import BadOption, Options
from services.emulator.replies import Replies
from services.emulator.schema import Refused
from services.emulator.session import Close, Outgoing, Session, new_id

log = logging.getLogger("emulator")

#: Larger messages are refused by closing (1009); up to here the answer is an error event.
MAX_MESSAGE = 32 * 1024 * 1024
#: Path of the same service on Azure.
AZURE_PATH = "/openai/v1/realtime"
_KEY_PROTOCOL = "openai-insecure-api-key."
#: How long a client has to answer a close, s.
_CLOSE_S = 0.5
#: Journal entries kept in memory, for tests.
_JOURNAL = 10_000


class Emulator:
    """The server. ``start`` listens; ``url`` and ``port`` then say where."""

    def __init__(self, options: Options) -> None:
        """Read the voice. Raises VoiceError, BadOption, and OSError for the journal's file."""
        self.options = options
        #: What the sessions wrote down, the latest last.
        self.journal: deque[dict[str, Any]] = deque(maxlen=_JOURNAL)
        self._host, self._port = options.address
        self._voice = None if options.reply.startswith("tone:") else Voice(options.voice)
        try:
            Replies(options.reply, self._voice)
        except VoiceError as error:
            raise BadOption(f"--reply {options.reply}: {error}") from None
        self._file: IO[str] | None = None
        if options.journal is not None:
            self._file = options.journal.open("a", encoding="utf-8", buffering=1)
        self._server: Server | None = None
        self._sessions: list[Session] = []
        self._warming: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the address is taken."""
        self._server = await listen(
            self._serve,
            self._host,
            self._port,
            process_request=self._admit,
            select_subprotocol=_select_subprotocol,
            max_size=MAX_MESSAGE,
            # The service's pings are not those of this library: see _ping.
            ping_interval=None,
            close_timeout=_CLOSE_S,
            logger=logging.getLogger("websockets.emulator"),
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        said = Replies(self.options.reply, self._voice).next(greeting=True, last=None)
        loop = asyncio.get_running_loop()
        self._warming = loop.run_in_executor(None, _warm, said)

    async def stop(self) -> None:
        """Close every connection (1001) and stop listening, within a second."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._warming is not None:
            await asyncio.wait([self._warming])
        if self._file is not None:
            self._file.close()

    def tell(self) -> None:
        """Have every session write down what its conversation holds, the latest one first."""
        for session in reversed(self._sessions):
            session.tell(asyncio.get_running_loop().time())

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def url(self) -> str:
        """Where a client connects to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self._port}{self.options.path}"

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse at the upgrade what the service refuses there; all else is told in-band."""
        parts = urlsplit(request.path)
        if parts.path not in (self.options.path, AZURE_PATH):
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, f"nothing here: connect to {self.url}\n"
            )
        if parts.path == AZURE_PATH and "api-version" in parse_qs(parts.query):
            return connection.respond(
                http.HTTPStatus.UNAUTHORIZED, "the GA form of this path takes no api-version\n"
            )
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        now, wall = asyncio.get_running_loop().time(), time.time()
        try:
            model = self._authenticate(socket.request)
        except Refused as refused:
            log.info("refused a connection: %s", refused.code)
            await _refuse(socket, refused)
            return
        if self._warming is not None:
            # it decodes the greeting, and a decoder is not for two threads at once
            await asyncio.wait([self._warming])
        from services.emulator import sound  # noqa: PLC0415 (slow to load, the start waits for it)

        session = Session(
            self.options,
            Replies(self.options.reply, self._voice),
            sound.silero(),
            self._write_down,
            model=model,
            now=now,
            wall=wall,
        )
        log.info("%s begins: %s, from port %s", session.id, model, socket.remote_address[1])
        self._sessions.append(session)
        try:
            await _Driver(self.options, socket, session).run()
        finally:
            self._sessions.remove(session)
        log.info("%s ends: closed with %s %s", session.id, socket.close_code, socket.close_reason)

    def _authenticate(self, request: Request) -> str:
        """Give the model that is asked for. Raises Refused, for the errors that end in a close.

        The service accepts the upgrade first; then comes the error, then the close.
        """
        query = parse_qs(urlsplit(request.path).query)
        if "OpenAI-Beta" in request.headers:
            raise Refused(
                "beta_api_shape_disabled",
                "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA"
                " API.",
            )
        if self.options.keys:
            given = _key(request, query).encode()
            if not any(hmac.compare_digest(given, key.encode()) for key in self.options.keys):
                raise Refused("invalid_api_key", "Incorrect API key provided.")
        if "intent" in query:
            raise Refused("invalid_intent", "The emulator has conversations only, no other intent.")
        if not (model := query.get("model", [""])[0]):
            raise Refused("missing_model", "You must provide a model parameter.")
        if "realtime" not in model and not model.startswith("gpt-audio"):
            raise Refused(
                "invalid_model", f"Model '{model}' is not supported in realtime mode.", "model"
            )
        return model

    def _write_down(self, entry: dict[str, Any]) -> None:
        self.journal.append(entry)
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            # A full disk ends the journal, not the conversations.
            log.error("%s: %s: no more is written down", self.options.journal, error.strerror)
            self._file = None


@asynccontextmanager
async def serve(options: Options) -> AsyncIterator[Emulator]:
    """Run an emulator for the length of a ``with``. Raises as ``Emulator`` and ``start`` do."""
    emulator = Emulator(options)
    await emulator.start()
    try:
        yield emulator
    finally:
        await emulator.stop()


class _Driver:
    """Moves messages between a socket and a session, and tells the session the time."""

    def __init__(self, options: Options, socket: ServerConnection, session: Session) -> None:
        self._options = options
        self._socket = socket
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Serve until the connection is closed."""
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._ping())]
        try:
            await self._read()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("the session failed")
            raise
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                    log.error("the session failed", exc_info=result)

    async def _read(self) -> None:
        async for message in self._socket:
            self._session.receive(message, self._loop.time())
            self._changed.set()
            while self._session.listening:
                self._session.listen(self._loop.time())
                self._changed.set()
                # Audio that comes in a burst must not hold up what is being said.
                await asyncio.sleep(0)

    async def _write(self) -> None:
        try:
            while True:
                self._changed.clear()
                for outgoing in self._session.pull(self._loop.time()):
                    if await self._send(outgoing):
                        return
                    # Nor must a reply sent at once hold up the ears.
                    await asyncio.sleep(0)
                await self._until_due()
        except Exception:
            # Whatever went wrong here, the client must not wait for ever.
            await self._socket.close(1011, "internal error")
            raise

    async def _send(self, outgoing: Outgoing) -> bool:
        """Send one thing; say whether it was the last."""
        match outgoing:
            case Close(code, reason):
                await self._socket.close(code, reason)
                return True
            case Reset():
                _reset(self._socket)
                return True
            case dict():
                await self._socket.send(msgspec.json.encode(outgoing), text=True)
            case _:
                await self._socket.send(outgoing)
        return False

    async def _until_due(self) -> None:
        due = self._session.due
        if due is None:
            await self._changed.wait()
        elif due > self._loop.time():
            timer = self._loop.call_at(due, self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._options.ping_s)
            # A client that does not answer was never seen to be dropped, so none is here.
            await self._socket.ping(secrets.token_bytes(4))


async def _refuse(socket: ServerConnection, refused: Refused) -> None:
    event = {**refused.event(), "event_id": new_id("event")}
    code = 3000 if refused.code == "invalid_api_key" else 4000
    try:
        await socket.send(msgspec.json.encode(event), text=True)
        await socket.close(code, f"{refused.kind}.{refused.code}")
    except ConnectionClosed:
        pass


def _key(request: Request, query: dict[str, list[str]]) -> str:
    """Give the key from wherever a client may put it; empty if there is none."""
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Bearer "):
        return authorization.removeprefix("Bearer ").strip()
    if "api-key" in request.headers:
        return request.headers["api-key"]
    if "api-key" in query:
        return query["api-key"][0]
    for offered in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        if offered.strip().startswith(_KEY_PROTOCOL):
            return offered.strip().removeprefix(_KEY_PROTOCOL)
    return ""


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("realtime") if "realtime" in offered else None


def _reset(connection: ServerConnection) -> None:
    """Drop the connection as a crash or a cable would: RST, no close frame, nothing flushed."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def _warm(said: Utterance) -> None:
    """Load what the first session will need, off the event loop and after listening."""
    from services.emulator import sound  # noqa: PLC0415 (slow to load, the start waits for it)

    sound.silero()
    try:
        said.read(0, 1)
    except VoiceError as error:
        # It will be met again where it is to be said.
        log.warning("%s", error)


def describe(emulator: Emulator) -> list[str]:
    """Give the first lines of the log: where it listens, what it says, what goes wrong."""
    options = emulator.options
    faults = options.faults.describe()
    if options.cycle_deltas:
        faults.append("odd-sized deltas")
    if options.expire_s != Options.expire_s:
        faults.append(f"sessions expire after {options.expire_s:g} s")
    pace = f"{options.pace:g}× real time" if options.pace else "all at once"
    keys = f"one of {len(options.keys)} keys" if options.keys else "any key, or none"
    return [
        f"listens at {emulator.url}, takes {keys}",
        f"replies with {options.reply}, sent {pace}; faults: {'; '.join(faults) or 'none'}",
        "waits for a client to connect",
    ]


def busy(error: OSError, options: Options) -> str:
    """Give the one line for an address that cannot be listened on."""
    host, port = options.address
    return (
        f"cannot listen at {host}:{port}: {error.strerror or error}: stop what listens there, or"
        f" choose another port with --url ws://{host}:{port + 1}{options.path}"
    )
