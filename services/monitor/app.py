"""The door's answer to each request, as a Starlette application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.monitor import voice
from services.monitor.commands import Command, Outcome
from services.monitor.watcher import LEVELS, VOICES, Watcher

#: The longest command, bytes: a text of 64 Ki characters in JSON.
MAX_COMMAND_BYTES = 512 * 1024
#: How long an outcome may take, s: longer than the runner waits.
ANSWER_S = 4.0
#: The most watchers at once. Each costs some MB if it takes nothing.
MOST_WATCHERS = 32
#: The files of the page, and the beginnings of the paths that need no token: they hold no secret.
PAGE = Path(__file__).with_name("page")
PUBLIC = ("/page/",)
#: The subprotocol that a page's WebSocket speaks, beside the one that carries the token.
PROTOCOL = "bargein"


class Server(Protocol):
    """The door, as the application uses it."""

    async def follow(self, command: Command) -> Outcome:
        """Follow a command, and return its outcome."""

    async def metrics(self) -> bytes:
        """Return the figures in Prometheus's format."""

    def join(self, wants: frozenset[str]) -> Watcher | None:
        """Add a watcher; None if there are too many."""

    def again(self, watcher: Watcher) -> None:
        """Ask for another snapshot for a watcher."""

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher."""


class AnsweredCommand(Command, frozen=True, forbid_unknown_fields=True):
    """A command on a WebSocket, whose outcome carries the same number."""

    number: int = 0


def _answer(status: int, outcome: Outcome) -> Response:
    return Response(msgspec.json.encode(outcome) + b"\n", status, media_type="application/json")


def _wants(connection: HTTPConnection) -> frozenset[str]:
    asked = connection.query_params
    return frozenset(name for name in (LEVELS, VOICES) if asked.get(name) in ("1", "true"))


def application(server: Server, directory: Path) -> Starlette:
    """Return the application. ``directory`` is the bus directory."""

    async def outcome_of(command: Command) -> tuple[int, Outcome]:
        try:
            outcome = await asyncio.wait_for(server.follow(command), ANSWER_S)
        except TimeoutError:
            return 503, Outcome(done=False, outcome="monitor is busy: try again")
        return 200 if outcome.done else 409, outcome

    async def command(request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_COMMAND_BYTES:
                    said = f"a command has at most {MAX_COMMAND_BYTES} bytes"
                    return _answer(413, Outcome(done=False, outcome=said))
            asked = msgspec.json.decode(body, type=Command)
        except ClientDisconnect:
            return _answer(400, Outcome(done=False, outcome="the request ended early"))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _answer(400, Outcome(done=False, outcome=f"no command: {error}"))
        return _answer(*await outcome_of(asked))

    async def next_of(watcher: Watcher) -> tuple[bytes, bool]:
        data = await watcher.next()
        if watcher.lost:
            watcher.lost = False
            server.again(watcher)
        return data

    async def state(_: Request) -> Response:
        if (watcher := server.join(frozenset())) is None:
            return _answer(503, Outcome(done=False, outcome="there are too many watchers"))
        try:
            data, _sound = await asyncio.wait_for(next_of(watcher), ANSWER_S)
        except TimeoutError:
            return _answer(503, Outcome(done=False, outcome="monitor is busy: try again"))
        finally:
            server.leave(watcher)
        return Response(data + b"\n", media_type="application/json")

    async def watch(request: Request) -> Response:
        if (watcher := server.join(_wants(request) - {VOICES})) is None:
            return _answer(503, Outcome(done=False, outcome="there are too many watchers"))

        async def lines() -> AsyncIterator[bytes]:
            try:
                while True:
                    data, _ = await next_of(watcher)
                    yield data + b"\n"
            finally:
                server.leave(watcher)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def events(socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", ())
        await socket.accept(PROTOCOL if PROTOCOL in offered else None)
        if (watcher := server.join(_wants(socket))) is None:
            await socket.close(1013, "there are too many watchers")
            return

        async def show() -> None:
            while True:
                data, sound = await next_of(watcher)
                if sound:
                    await socket.send_bytes(data)
                else:
                    await socket.send_text(data.decode())

        async def obey() -> None:
            while True:
                text = await socket.receive_text()
                try:
                    asked = msgspec.json.decode(text, type=AnsweredCommand)
                except (msgspec.MsgspecError, UnicodeError) as error:
                    number, outcome = 0, Outcome(done=False, outcome=f"no command: {error}")
                else:
                    number = asked.number
                    fields = {n: getattr(asked, n) for n in Command.__struct_fields__}
                    _, outcome = await outcome_of(Command(**fields))
                said: dict[str, Any] = {"type": "outcome", "number": number}
                watcher.put(msgspec.json.encode(said | msgspec.to_builtins(outcome)))

        tasks = [asyncio.ensure_future(show()), asyncio.ensure_future(obey())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.leave(watcher)
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, KeyError):
                    await task

    async def metrics(_: Request) -> Response:
        try:
            data = await asyncio.wait_for(server.metrics(), ANSWER_S)
        except TimeoutError:
            return Response("monitor is busy\n", 503)
        return Response(data, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(_: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/command", command, methods=["POST"]),
            Route("/state", state),
            Route("/watch", watch),
            Route("/metrics", metrics),
            WebSocketRoute("/events", events),
            Mount("/page", StaticFiles(directory=PAGE)),
            *voice.routes(directory),
        ]
    )
