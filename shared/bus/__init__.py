"""The message bus: ZeroMQ PUB/SUB without a broker.

Every publisher binds its own endpoint: an ipc socket in the bus directory, or the address that the
network has for it. Every subscriber connects to the publishers of the topics that it reads, which
it finds through the registry. Nothing here blocks: a stage's loop polls, receives the messages that
are there, and sends.
"""

from shared.bus.publisher import (
    HANDSHAKE_MS,
    LINGER,
    MAX_REQUEST,
    REQUESTS_AHEAD,
    REQUESTS_AT_ONCE,
    Publisher,
    wait_until_sent,
)
from shared.bus.subscriber import (
    AHEAD,
    MAX_FRAME,
    REFUSED_AT_ONCE,
    URGENT_AT_ONCE,
    Delivery,
    Losses,
    Subscriber,
)

__all__ = [
    "AHEAD",
    "HANDSHAKE_MS",
    "LINGER",
    "MAX_FRAME",
    "MAX_REQUEST",
    "REFUSED_AT_ONCE",
    "REQUESTS_AHEAD",
    "REQUESTS_AT_ONCE",
    "URGENT_AT_ONCE",
    "Delivery",
    "Losses",
    "Publisher",
    "Subscriber",
    "wait_until_sent",
]
