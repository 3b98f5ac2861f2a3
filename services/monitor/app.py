"""What the door answers to each request, as a Starlette application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from services.monitor import voice
from services.monitor.commands import Command, Outcome

#: The longest command, bytes: a text of 64 Ki characters in JSON.
LONGEST = 512 * 1024
#: How long an outcome may take, s: longer than the desk waits.
ANSWER_S = 4.0

#: The beginnings of the paths that need no token: the page's own files, which have no secret.
PUBLIC = ("/page/",)
PAGE = Path(__file__).parent / "page"

#: Follows a command; any thread may call it.
Follow = Callable[[Command], Awaitable[Outcome]]


def _answer(status: int, outcome: Outcome) -> Response:
    return Response(msgspec.json.encode(outcome) + b"\n", status, media_type="application/json")


def application(follow: Follow, directory: Path) -> Starlette:
    """Return the application. ``directory`` is the bus directory."""

    async def command(request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST:
                    return _answer(413, Outcome(False, f"a command has at most {LONGEST} bytes"))
            asked = msgspec.json.decode(body, type=Command)
        except ClientDisconnect:
            return _answer(400, Outcome(False, "the request ended early"))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _answer(400, Outcome(False, f"no command: {error}"))
        try:
            outcome = await asyncio.wait_for(follow(asked), ANSWER_S)
        except TimeoutError:
            return _answer(503, Outcome(False, "monitor is busy: try again"))
        return _answer(200 if outcome.done else 409, outcome)

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    return Starlette(
        routes=[
            Route("/", index),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/command", command, methods=["POST"]),
            *voice.routes(directory),
        ]
    )
