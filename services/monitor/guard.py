"""Access to the door over TCP, decided by Host, Origin and the token. Pure.

A port of this machine can be reached by every user of the machine and by every page in a browser.
The Unix socket is in a directory that only our user can enter, so it needs no guard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

import msgspec

from shared.door import TOKEN_FILE, is_token, refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The subprotocol of a WebSocket that carries the token: a page in a browser can set no header.
TOKEN = "token."
#: A browser may run only our own scripts in our pages, and connect them to this machine alone: with
#: the device "browser", a page also connects to capture and playback.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
    b" ws://127.0.0.1:*;"
    b" worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Passes requests on to ``app`` if they may use the door.

    ``token``: what a client over TCP has to know. ``public``: the beginnings of the paths that need
    no token, because the same is in every checkout. ``hosts``: see ``monitor.hosts``.
    """

    def __init__(
        self, app: App, token: str, public: Collection[str], hosts: Collection[str]
    ) -> None:
        self._app = app
        self._token = token
        self._public = tuple(public)
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if scope["type"] not in ("http", "websocket"):
            return
        status, why = (200, "") if is_local(scope) else self._judge(scope)
        if not why:
            if trust := scope.get("state", {}).get("trust"):
                trust()
            await self._app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        else:
            body = msgspec.json.encode({"done": False, "outcome": why}) + b"\n"
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await guarded({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _judge(self, scope: Scope) -> tuple[int, str]:
        """Return a status, and why a request is refused; "" if it is not."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin")
        if why := refusal(
            headers.get(b"host", b"").decode("latin-1"),
            None if origin is None else origin.decode("latin-1"),
            hosts=self._hosts,
        ):
            return 403, f"{why}: see monitor.hosts"
        open_to_all = scope["path"] == "/" or scope["path"].startswith(self._public)
        if scope["type"] == "http" and open_to_all:
            return 200, ""
        if is_token(_given(scope, headers), self._token):
            return 200, ""
        return 401, f"the token is missing or wrong: it is in {TOKEN_FILE} in the bus directory"


def _given(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """Return the token that a request carries, "" if it carries none."""
    kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    offered = (str(name) for name in scope.get("subprotocols", ()))
    return next((name.removeprefix(TOKEN) for name in offered if name.startswith(TOKEN)), "")


def is_local(scope: Scope) -> bool:
    """Return whether a request came over the Unix socket."""
    server = scope.get("server")
    return server is not None and server[1] is None
