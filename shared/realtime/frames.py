"""A text as a WebSocket frame of a client (RFC 6455, 5.2), ready for the socket. Pure.

websocket-client makes the same in many small steps, which costs as much as the rest of link's work.
"""

from __future__ import annotations

import struct
import sys

_FINAL_TEXT = 0x81
_MASKED = 0x80


def text(payload: bytes, key: bytes) -> bytes:
    """Give the one frame of a text, masked with the four bytes of ``key``."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", _FINAL_TEXT, _MASKED | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", _FINAL_TEXT, _MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", _FINAL_TEXT, _MASKED | 127, length)
    # as numbers: Python has no other way to XOR many bytes at once
    order = sys.byteorder
    mask = int.from_bytes((key * (length // 4 + 1))[:length], order)
    masked = int.from_bytes(payload, order) ^ mask
    return b"".join((head, key, masked.to_bytes(length, order)))
