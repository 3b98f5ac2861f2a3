"""The way of a page's voice through the door, to the ports of capture and playback.

A page on this machine connects to those ports itself. A page that reaches only the door (through a
tunnel, from a container, from a phone) connects here, and everything is passed on unread.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from shared import door

#: The processes that can have a page as their device.
STAGES = ("capture", "playback")
#: The subprotocols of a voice, see docs/browser.md.
PROTOCOL, TOKEN = "bargein.voice", "token."
#: The close code for a process that cannot be reached now.
TRY_AGAIN = 1013


def routes(directory: Path) -> list[BaseRoute]:
    """Return the routes by which a page asks for the ports, or connects without them."""

    async def ports(_: Request) -> Response:
        return JSONResponse({stage: door.port(directory, stage) for stage in STAGES})

    async def voice(page: WebSocket) -> None:
        stage = page.path_params["stage"]
        port = door.port(directory, stage) if stage in STAGES else 0
        await page.accept(PROTOCOL)
        try:
            async with connect(
                f"ws://127.0.0.1:{port}/",
                subprotocols=[Subprotocol(PROTOCOL), Subprotocol(TOKEN + door.token(directory))],
                compression=None,
                proxy=None,
            ) as process:
                await _pass_on(page, process)
        except (OSError, InvalidHandshake, TimeoutError):
            await _close(page, TRY_AGAIN, f"{stage} serves no page")

    return [Route("/voice", ports), WebSocketRoute("/voice/{stage}", voice)]


async def _pass_on(page: WebSocket, process: ClientConnection) -> None:
    """Pass messages on in both directions until one side closes."""
    both = [asyncio.create_task(each) for each in (_inward(page, process), _outward(process, page))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _inward(page: WebSocket, process: ClientConnection) -> None:
    with suppress(WebSocketDisconnect, ConnectionClosed):
        while (message := await page.receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await process.send(message["text"] if data is None else data)


async def _outward(process: ClientConnection, page: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        async for message in process:
            if isinstance(message, str):
                await page.send_text(message)
            else:
                await page.send_bytes(message)
        await _close(page, process.close_code or TRY_AGAIN, process.close_reason or "")


async def _close(page: WebSocket, code: int, reason: str) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        # These two codes say that there was no code.
        await page.close(TRY_AGAIN if code in (1005, 1006) else code, reason)
