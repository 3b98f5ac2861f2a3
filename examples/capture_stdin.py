"""A capture stage whose microphone is standard input: raw samples, mono, s16le, at 24 kHz.

Run it in place of capture, for instance with a recording that is read in real time::

    ffmpeg -re -i talk.mp3 -f s16le -ac 1 -ar 24000 - | python examples/capture_stdin.py

It needs pyzmq and msgpack. It follows every rule for capture in docs/bus.md. If the input is slower
than real time, or ends, the microphone continues with silence: the server measures time by the
microphone's samples.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import zmq

VERSION = 3
RATE, FRAME = 24_000, 480  # samples per second, and in one mic.frame: 20 ms
FRAME_NS = 1_000_000_000 * FRAME // RATE

runtime = os.environ.get("XDG_RUNTIME_DIR")
usual = f"{runtime}/bargein" if runtime else f"{tempfile.gettempdir()}/bargein-{os.getuid()}"
directory = Path(os.environ.get("BARGEIN_BUS__DIRECTORY") or usual)
directory.mkdir(mode=0o700, exist_ok=True)

# the lock comes before the socket: binding a socket that is in use takes it over
lock = os.open(directory / "capture.lock", os.O_RDWR | os.O_CREAT, 0o600)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit("capture is already running")
os.ftruncate(lock, 0)
os.write(lock, f"{os.getpid()}\n".encode())

publisher: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
publisher.bind(f"ipc://{directory}/capture.ipc")
epoch = time.time_ns() // 1000
counts: Counter[str] = Counter()


def publish(topic: str, payload: bytes = b"", **own: Any) -> None:
    """Send one message."""
    stamp = {"v": VERSION, "seq": counts[topic], "epoch": epoch, "t": time.monotonic_ns()}
    counts[topic] += 1
    publisher.send_multipart([topic.encode(), msgpack.packb({**stamp, **own}), payload])


def main() -> None:
    """Publish a frame each 20 ms, for ever."""
    os.set_blocking(sys.stdin.fileno(), False)
    waiting = b""
    position, began = 0, time.monotonic_ns()
    health_at = 0.0
    while True:
        captured_ns = began + position // FRAME * FRAME_NS
        # a frame is complete when its last sample has been captured
        time.sleep(max(0, captured_ns + FRAME_NS - time.monotonic_ns()) / 1e9)
        try:
            waiting += os.read(sys.stdin.fileno(), 2 * FRAME - len(waiting))
        except BlockingIOError:
            pass  # the input is late: its incomplete frame waits for the next round
        frame = bytes(2 * FRAME)
        if len(waiting) == 2 * FRAME:
            frame, waiting = waiting, b""
        place = {"stream": epoch, "position": position, "captured_ns": captured_ns, "overflows": 0}
        publish("mic.frame", frame, **place)
        position += FRAME
        if time.monotonic() - health_at >= 1:
            health_at = time.monotonic()
            publish("capture.health", pid=os.getpid(), ok=True, state="standard input", counters={})


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))  # the launcher starts this stage again
    try:
        main()
    except KeyboardInterrupt:
        pass
