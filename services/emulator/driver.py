"""One WebSocket connection and its session: messages in, messages out, pings, and the time."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from services.emulator import mcp_client
from services.emulator.mcp_servers import Errand
from services.emulator.options import Options
from services.emulator.outbox import Close, Outgoing, Reset
from services.emulator.session import Session

log = logging.getLogger("emulator")


class Driver:
    """Moves messages between a connection and a session, and gives the session the time."""

    def __init__(self, options: Options, connection: ServerConnection, session: Session) -> None:
        self._options = options
        self._connection = connection
        self._session = session
        self._loop = asyncio.get_running_loop()
        #: Set when the session may have something to send, or may be due at another time.
        self._changed = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the client until the connection is closed."""
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._ping())]
        try:
            await self._read()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("%s failed while it handled a message", self._session.id)
            raise
        finally:
            tasks += self._errands
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                    log.error("%s failed while it sent", self._session.id, exc_info=result)

    async def _read(self) -> None:
        async for message in self._connection:
            self._session.receive(message, self._loop.time())
            self._changed.set()
            while self._session.listening:
                self._session.listen(self._loop.time())
                self._changed.set()
                # Let ``_write`` run, so that a burst of audio does not delay a reply.
                await asyncio.sleep(0)

    async def _write(self) -> None:
        try:
            while True:
                self._changed.clear()
                sent = self._session.pull(self._loop.time())
                for errand in self._session.errands():
                    self._errands.add(task := self._loop.create_task(self._run(errand)))
                    task.add_done_callback(self._errands.discard)
                for outgoing in sent:
                    if await self._send(outgoing):
                        return
                    # Let ``_read`` run, so that a reply sent at once does not delay the input.
                    await asyncio.sleep(0)
                await self._until_due()
        except Exception:
            # Close the connection, so that the client does not wait for ever.
            await self._connection.close(1011, "internal error")
            raise

    async def _run(self, errand: Errand) -> None:
        result = await mcp_client.run(errand)
        self._session.ran(errand, result, self._loop.time())
        self._changed.set()

    async def _send(self, outgoing: Outgoing) -> bool:
        """Send one message, and return whether it was the last of the connection."""
        match outgoing:
            case Close(code, reason):
                await self._connection.close(code, reason)
                return True
            case Reset():
                _reset(self._connection)
                return True
            case dict():
                await self._connection.send(msgspec.json.encode(outgoing), text=True)
            case _:
                await self._connection.send(outgoing)
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
            # Nothing waits for the pong: the live service was never seen to drop a client that did
            # not answer.
            await self._connection.ping(secrets.token_bytes(4))


def _reset(connection: ServerConnection) -> None:
    """Break the connection as a crash does: with a RST, without a close frame."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
