"""WebSocket frames (RFC 6455), as a client writes and reads them. Pure.

websocket-client, which makes the connection, reads a frame in three calls of the system and writes
one in four; on a voice's fifty a second that is most of what link would do.
"""

from __future__ import annotations

import struct

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_CONTINUED = 0x0
_MAX_CONTROL = 125  # bytes

Message = tuple[int, bytes]  # its opcode, its payload


class BadFrame(Exception):
    """Raised when what the server sends is no frame, or a message longer than allowed."""


def write(opcode: int, payload: bytes, key: bytes) -> bytes:
    """Give a message as one frame, masked with ``key``: four bytes that nobody can guess."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length)
    mask = int.from_bytes((key * (length // 4 + 1))[:length], "little")
    masked = int.from_bytes(payload, "little") ^ mask
    return b"%b%b%b" % (head, key, masked.to_bytes(length, "little"))


class Reader:
    """Makes messages of the bytes of a connection, however they are cut.

    ``limit``: the bytes of the longest message. One that announces more is refused as soon as it
    does, and so is one that comes in ever more fragments.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._needed = 2  # so many there must be before there can be another frame
        self._opcode = 0  # of the message whose fragments come; 0: none
        self._fragments = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take what came; give the messages that are complete. Raises BadFrame."""
        self._bytes += data
        found: list[Message] = []
        at = 0
        while len(self._bytes) - at >= self._needed:
            begin, end = self._extent(at)
            if end > len(self._bytes):
                self._needed = end - at
                break
            first = self._bytes[at]
            with memoryview(self._bytes) as seen:
                payload = bytes(seen[begin:end])
            message = self._message(first & 0x0F, payload, last=bool(first & 0x80))
            if message is not None:
                found.append(message)
            at, self._needed = end, 2
        del self._bytes[:at]
        return found

    def _extent(self, at: int) -> tuple[int, int]:
        """Give where the payload of the frame at a place begins and ends, as far as is known."""
        first, second = self._bytes[at], self._bytes[at + 1]
        opcode, length = first & 0x0F, second & 0x7F
        if first & 0x70 or opcode not in (_CONTINUED, TEXT, BINARY, CLOSE, PING, PONG):
            raise BadFrame(f"the server sent a frame of an unknown kind: 0x{first:02x}")
        if second & 0x80:
            raise BadFrame("the server sent a masked frame, which a server must not send")
        if opcode >= CLOSE and (length > _MAX_CONTROL or not first & 0x80):
            raise BadFrame("the server sent a control frame that is too long or in fragments")
        head = 2
        if length > 125:
            head = 4 if length == 126 else 10
            if len(self._bytes) - at < head:
                return at, at + head
            length = int.from_bytes(self._bytes[at + 2 : at + head], "big")
        if length + len(self._fragments) > self._limit:
            raise BadFrame(f"the server sent a message of more than {self._limit} bytes")
        return at + head, at + head + length

    def _message(self, opcode: int, payload: bytes, *, last: bool) -> Message | None:
        if opcode >= CLOSE:
            return opcode, payload
        if (opcode == _CONTINUED) != bool(self._opcode):
            raise BadFrame("the server sent fragments of a message out of order")
        if last and not self._opcode:
            return opcode, payload
        self._opcode = self._opcode or opcode
        self._fragments += payload
        if not last:
            return None
        whole = self._opcode, bytes(self._fragments)
        self._opcode = 0
        self._fragments = bytearray()
        return whole
