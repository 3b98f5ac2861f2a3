"""The server: it listens on loopback and gives each WebSocket connection a session of its own."""

from __future__ import annotations

import asyncio
import hmac
import http
import json
import logging
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

from services.emulator.clips import Utterance, Voice, VoiceError
from services.emulator.driver import Driver
from services.emulator.options import BadOption, Options
from services.emulator.outbox import new_id
from services.emulator.replies import Replies
from services.emulator.schema import Refused
from services.emulator.session import Session
from shared.door import refusal

log = logging.getLogger("emulator")

#: The longest message, in bytes. The server closes the connection (1009) after a longer one. It is
#: above the limit of an append, which the session refuses with an error event.
MAX_MESSAGE = 32 * 1024 * 1024
#: The path of the same API on Azure.
AZURE_PATH = "/openai/v1/realtime"
#: The headers by which a client says whom a session belongs to. The journal has them.
OWNERS = ("OpenAI-Organization", "OpenAI-Project", "OpenAI-Safety-Identifier")
#: A browser can't set headers, so it sends the key as a subprotocol with this prefix.
_KEY_PROTOCOL = "openai-insecure-api-key."
#: How long the server waits for a client to answer a close, s.
_CLOSE_S = 0.5
#: How long after its session a slot is free again, s: some hundred ms with a local server.
_SLOT_FREE_S = 0.3
#: The codes that close a connection after an error. All others close with 4000.
_CLOSES = {"invalid_api_key": 3000, "session_limit_reached": 1008}
_JOURNAL = 10_000  # entries in memory, which tests read


class Emulator:
    """The server. After ``start``, ``url`` and ``port`` say where it listens."""

    def __init__(self, options: Options) -> None:
        """Load the index of the voice and open the journal.

        Raises BadOption if there is no clip for the option ``reply``, VoiceError if the voice
        cannot be used, and OSError if the journal's file cannot be opened.
        """
        self.options = options
        #: The journal entries of all sessions, the latest last.
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
        self._taken = 0  # the number of slots that are not free
        self._warming: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Begin to listen. Raises OSError if the address is taken."""
        self._server = await listen(
            self._serve,
            self._host,
            self._port,
            process_request=self._admit,
            select_subprotocol=_select_subprotocol,
            max_size=MAX_MESSAGE,
            # ``Driver`` sends pings like the service's. The library's pings differ.
            ping_interval=None,
            close_timeout=_CLOSE_S,
            logger=logging.getLogger("websockets.emulator"),
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        greeting = Replies(self.options.reply, self._voice).next(greeting=True, last=None)
        loop = asyncio.get_running_loop()
        self._warming = loop.run_in_executor(None, _warm_up, greeting)

    async def stop(self) -> None:
        """Stop listening and close every connection (1001). This takes less than a second."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._warming is not None:
            await asyncio.wait([self._warming])
        if self._file is not None:
            self._file.close()

    def journal_conversations(self) -> None:
        """Write the content of every conversation to the journal, the newest session first."""
        for session in reversed(self._sessions):
            session.journal_conversation(asyncio.get_running_loop().time())

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._port

    @property
    def url(self) -> str:
        """The URL that a client connects to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{self._port}{self.options.path}"

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return an HTTP error to refuse a connection, or None to go on.

        A page in a browser is refused, and a wrong path, as the service does. The service reports
        all other errors after the upgrade: see ``_authenticate``.
        """
        headers = request.headers
        origin = headers.get("Origin")
        if why := refusal(headers.get("Host", ""), origin, self.options.origins):
            why += ": see the option --origin" if origin else ""
            log.warning("refused a connection: %s", why)
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{why}\n")
        parts = urlsplit(request.path)
        if parts.path not in (self.options.path, AZURE_PATH):
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, f"there is nothing at this path: use {self.url}\n"
            )
        if parts.path == AZURE_PATH and "api-version" in parse_qs(parts.query):
            return connection.respond(
                http.HTTPStatus.UNAUTHORIZED, "remove 'api-version': the GA API does not take it\n"
            )
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        now, wall = asyncio.get_running_loop().time(), time.time()
        try:
            model = self._authenticate(connection.request)
            self._take_slot()
        except Refused as refused:
            log.info("refused a connection: %s", refused.code)
            await _refuse(connection, refused)
            return
        try:
            await self._converse(connection, model, now, wall)
        finally:
            asyncio.get_running_loop().call_later(_SLOT_FREE_S, self._free_slot)

    async def _converse(
        self, connection: ServerConnection, model: str, now: float, wall: float
    ) -> None:
        if self._warming is not None:
            # The warm-up decodes the greeting, and two threads must not use a decoder at once.
            await asyncio.wait([self._warming])
        from services.emulator import sound  # noqa: PLC0415 (slow to load, so not at the start)

        session = Session(
            self.options,
            Replies(self.options.reply, self._voice),
            sound.silero(),
            self._write_down,
            model=model,
            now=now,
            wall=wall,
        )
        port = connection.remote_address[1]
        log.info("%s begins: model %s, client at port %s", session.id, model, port)
        self._sessions.append(session)
        given = connection.request.headers if connection.request is not None else {}
        owners = {name: given[name] for name in OWNERS if name in given}
        self._write_session_down(session, "opened", model=model, headers=owners)
        try:
            await Driver(self.options, connection, session).run()
        finally:
            self._sessions.remove(session)
        code, reason = connection.close_code, connection.close_reason
        self._write_session_down(session, "closed", code=code)
        log.info("%s ends: closed with %s %s", session.id, code, reason)

    def _take_slot(self) -> None:
        """Take a slot for a session. Raises Refused if none is free."""
        slots = self.options.faults.slots
        if 0 < slots <= self._taken:
            raise Refused("session_limit_reached", f"All slots are in use: {slots}.")
        self._taken += 1

    def _free_slot(self) -> None:
        self._taken -= 1

    def _authenticate(self, request: Request) -> str:
        """Return the model that the client asks for.

        Raises Refused if the service would refuse the client: it accepts the upgrade, sends an
        error event, and closes the connection.
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
            raise Refused(
                "invalid_intent", "The emulator supports conversations only: remove 'intent'."
            )
        if not (model := query.get("model", [""])[0]):
            raise Refused("missing_model", "You must provide a model parameter.")
        if "realtime" not in model and not model.startswith("gpt-audio"):
            raise Refused(
                "invalid_model", f"Model '{model}' is not supported in realtime mode.", "model"
            )
        return model

    def _write_session_down(self, session: Session, kind: str, **fields: Any) -> None:
        """Write to the journal that a session was opened or closed."""
        now = round(asyncio.get_running_loop().time(), 3)
        self._write_down({"t_s": now, "session": session.id, "kind": kind, **fields})

    def _write_down(self, entry: dict[str, Any]) -> None:
        self.journal.append(entry)
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            # A full disk must not end the conversations.
            reason = error.strerror
            log.error("%s: %s: the journal ends here", self.options.journal, reason)
            self._file = None


@asynccontextmanager
async def serve(options: Options) -> AsyncIterator[Emulator]:
    """Run an emulator inside a ``with`` block. Raises as ``Emulator`` and ``start`` do."""
    emulator = Emulator(options)
    await emulator.start()
    try:
        yield emulator
    finally:
        await emulator.stop()


async def _refuse(connection: ServerConnection, refused: Refused) -> None:
    """Send the error event and close the connection."""
    event = {**refused.event(), "event_id": new_id("event")}
    code = _CLOSES.get(str(refused.code), 4000)
    try:
        await connection.send(msgspec.json.encode(event), text=True)
        await connection.close(code, f"{refused.kind}.{refused.code}")
    except ConnectionClosed:
        pass


def _key(request: Request, query: dict[str, list[str]]) -> str:
    """Return the API key from the headers, the query or the subprotocols; "" if there is none."""
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


def _warm_up(greeting: Utterance) -> None:
    """Load what the first session will need, in a thread, while the server already listens."""
    from services.emulator import sound  # noqa: PLC0415 (slow to load, so not at the start)

    sound.silero()
    try:
        greeting.read(0, 1)
    except VoiceError as error:
        # The response that says the greeting will fail with this error.
        log.warning("%s", error)
