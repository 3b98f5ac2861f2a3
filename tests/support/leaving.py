"""A process whose publishers close at the moment at which readers that do not read disconnect.

A test starts it as ``python -m tests.support.leaving DIRECTORY``. It ends with 0, unless libzmq
aborts it.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import zmq

from shared import bus, messages, registry

#: Enough pairs that one meets the moment: with LINGER = 0 and with 20, each of three runs aborted.
ROUNDS, PAIRS, MESSAGES = 5, 60, 400
TOPIC = registry.of(messages.Transcript)


def main(directory: Path) -> None:
    """Open and close the pairs, round by round."""
    # A long header before an empty payload: libzmq then often has half of a message under way.
    words = messages.Transcript(
        session=1, item_id="item", role="user", text="word " * 600, final=False
    )
    readers_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    for turn in range(ROUNDS):
        publishers: list[bus.Publisher] = []
        readers: list[zmq.Socket[bytes]] = []
        for pair in range(PAIRS):
            where = directory / f"{turn}-{pair}"
            where.mkdir(mode=0o700)
            publishers.append(bus.Publisher("downlink", where))
            reader = readers_context.socket(zmq.SUB)
            reader.linger = 0
            reader.setsockopt(zmq.RCVHWM, 5)
            reader.setsockopt(zmq.SUBSCRIBE, TOPIC.consumed_name.encode())
            reader.connect(publishers[-1].addresses[0])
            readers.append(reader)
        for publisher in publishers:
            while TOPIC.name in publisher.held:
                publisher.sockets[0].poll(1000)
                publisher.welcome()
            for _ in range(MESSAGES):
                publisher.publish(words)
        ends = [threading.Thread(target=_close, args=(side,)) for side in (readers, publishers)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()


def _close(opened: list[bus.Publisher] | list[zmq.Socket[bytes]]) -> None:
    for each in opened:
        each.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
