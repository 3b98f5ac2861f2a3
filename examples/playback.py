"""A whole playback stage in one file, which plays into nothing.

It follows the rules in docs/bus.md, but its queue has no limit.

Start the other stages with ``bin/start capture echo vad uplink link downlink``, then this file with
``python examples/playback.py``. It needs pyzmq and msgpack and nothing of Bargein's own code.
"""

from __future__ import annotations

import array
import fcntl
import os
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import zmq

VERSION = 3
RATE, FRAME = 24_000, 480  # samples per second, and in one speaker.frame: 20 ms
FADE = 48  # samples: 2 ms, which is short enough to be silence and long enough not to click
LAST_GENERATION = 2**62
HEARD_S, REPEAT_S = 0.1, 1.0  # how often heard is published while playing, and otherwise
HOLD_S = 10.0  # how long a report waits for a consumer
AUDIO, STATE, FLUSH = b"!reply.audio", b"reply.state", b"!flush"
REPORT = "report.flush"


@dataclass
class Item:
    """One item's audio. All numbers are samples from the item's start."""

    item_id: str
    content_index: int
    response_id: str
    out_of_band: bool
    heard: int = 0
    received: int = 0
    sure: int = 2**48  # samples after a gap never count as heard
    shift: int = 0  # added to the start of each chunk: step 6 in docs/bus.md
    generation: int = 0  # that of its newest chunk
    done: bool = False
    cut: bool = False

    def report(self) -> dict[str, Any]:
        """Return the HeardItem of docs/bus.md."""
        return {
            "item_id": self.item_id,
            "content_index": self.content_index,
            "heard": min(self.heard, self.sure),
            "received": self.received,
            "done": self.done,
            "broken": self.sure < 2**48,
            "cut": self.cut,
        }


class Player:
    """The queue, the playhead and the generation."""

    def __init__(self) -> None:
        self.generation = self.session = 0
        self.items: dict[tuple[str, int], Item] = {}
        self.queue: deque[tuple[Item, bytes]] = deque()
        self.refused: set[str] = set()
        self.tail = b""  # the fade: the next frame begins with it

    def audio(self, m: dict[str, Any], pcm: bytes) -> list[Item] | None:
        """Queue a chunk. Return the items that were cut if the chunk is newer than all before."""
        cut = None
        if m["generation"] > LAST_GENERATION:
            return cut
        if m["generation"] > self.generation:
            cut = self.flush(m["generation"], [], [], spared=m["response_id"])
        stale = m["generation"] < self.generation
        if (stale or m["response_id"] in self.refused) and not m.get("out_of_band"):
            return cut
        item = self.item(m, m["response_id"], m.get("out_of_band", False))
        if item.cut:
            return cut
        if m["generation"] > item.generation and not item.out_of_band:
            # a restarted downlink goes on with the item, and may not know how much of it has come
            item.shift = max(0, item.received - m["start"])
            item.sure = min(item.sure, item.received or item.sure)
        item.generation = m["generation"]
        start = m["start"] + item.shift
        if start > item.received:  # a gap
            item.sure = min(item.sure, item.received)
        end = start + len(pcm) // 2
        if fresh := pcm[max(0, item.received - start) * 2 :]:
            self.queue.append((item, fresh))
        item.received = max(item.received, end)
        item.done = item.done or m.get("last", False)
        self.session = m["session"]
        return cut

    def item(self, m: dict[str, Any], response_id: str = "", out_of_band: bool = False) -> Item:
        """Return the item that a message names."""
        key = (m["item_id"], m["content_index"])
        if key not in self.items:
            self.items[key] = Item(*key, response_id, out_of_band)
        return self.items[key]

    def flush(
        self,
        generation: int,
        received: list[dict[str, Any]],
        interrupted: list[str],
        spared: str = "",
    ) -> list[Item] | None:
        """Fall silent. Return the items not heard to their end, or None for an old flush."""
        if generation <= self.generation or generation > LAST_GENERATION:
            return None
        self.generation = generation
        for known in received:
            item = self.item(known)
            item.received = max(item.received, known["received"])
            item.done = item.done or known["done"]
        self.refused.update(interrupted)
        if self.queue and not self.tail and not self.survives(self.queue[0][0], spared):
            self.tail += self.fade(self.take(FADE, self.queue[0][0]))
        cut = []
        for item in self.items.values():
            if self.survives(item, spared) or item.cut:
                continue
            if item.response_id:
                self.refused.add(item.response_id)
            if not item.done or item.sure < 2**48 or item.heard < item.received:
                cut.append(item)
            item.cut = True
        self.queue = deque((i, pcm) for i, pcm in self.queue if not i.cut)
        return cut

    def survives(self, item: Item, spared: str) -> bool:
        """Return whether a flush leaves an item alone."""
        return item.out_of_band or (spared != "" and item.response_id == spared)

    def fade(self, pcm: bytes) -> bytes:
        """Return samples that fall to silence."""
        samples = array.array("h", pcm)
        return array.array(
            "h", (s * (len(samples) - n) // len(samples) for n, s in enumerate(samples))
        ).tobytes()

    def take(self, count: int, only: Item | None = None) -> bytes:
        """Take samples from the queue (of one item, if given), and advance the playhead."""
        out = b""
        while self.queue and len(out) < count * 2:
            item, pcm = self.queue.popleft()
            if only is not None and item is not only:
                self.queue.appendleft((item, pcm))
                break
            part, rest = pcm[: count * 2 - len(out)], pcm[count * 2 - len(out) :]
            item.heard += len(part) // 2
            out += part
            if rest:
                self.queue.appendleft((item, rest))
        return out

    def render(self) -> bytes:
        """Return the next frame for the speaker."""
        tail, self.tail = self.tail[: FRAME * 2], self.tail[FRAME * 2 :]
        return (tail + self.take(FRAME - len(tail) // 2)).ljust(FRAME * 2, b"\0")

    @property
    def playing(self) -> bool:
        """Whether there is something to play."""
        return bool(self.queue or self.tail)


class Stage:
    """The sockets, the lock and the loop."""

    def __init__(self, directory: Path) -> None:
        self.lock = os.open(directory / "playback.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("playback is already running")
        os.ftruncate(self.lock, 0)
        os.write(self.lock, f"{os.getpid()}\n".encode())
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.out = context.socket(zmq.XPUB)
        self.out.setsockopt(zmq.XPUB_VERBOSER, 1)  # report every reader that comes or leaves
        self.out.bind(f"ipc://{directory}/playback.ipc")
        self.poller = zmq.Poller()
        self.poller.register(self.out, zmq.POLLIN)
        self.flushes = context.socket(zmq.SUB)
        self.replies = context.socket(zmq.SUB)
        for sock, name, topics in (
            (self.flushes, "flush", [FLUSH]),
            (self.replies, "downlink", [AUDIO, STATE]),
        ):
            for topic in topics:
                sock.subscribe(topic)
            sock.connect(f"ipc://{directory}/{name}.ipc")
            self.poller.register(sock, zmq.POLLIN)
        self.epoch = time.time_ns() // 1000
        self.seq: Counter[str] = Counter()
        self.states: dict[str, dict[str, Any]] = {}  # the last state of each topic
        self.consumers = 0  # of reports
        self.held: deque[tuple[float, list[bytes]]] = deque()  # when, and the frames
        self.player = Player()
        self.newest = 0  # downlink's generation, from reply.state
        self.last_heard = self.last_health = 0.0
        self.was_playing = False

    def send(self, topic: str, payload: bytes = b"", **own: Any) -> None:
        """Publish a message. Hold a report for its consumers if there are none."""
        stamp = {"v": VERSION, "seq": self.seq[topic], "epoch": self.epoch}
        header = msgpack.packb({**stamp, "t": time.monotonic_ns(), **own})
        self.seq[topic] += 1
        self.out.send_multipart([topic.encode(), header, payload])
        if topic == REPORT:
            self.held.append((time.monotonic(), [f"!{topic}".encode(), header, payload]))
            self.release()

    def release(self) -> None:
        """Send the reports that were held, if there is a consumer. Drop those that are too old."""
        now = time.monotonic()
        while self.held and (self.consumers > 0 or now - self.held[0][0] > HOLD_S):
            began, frames = self.held.popleft()
            if now - began <= HOLD_S:
                self.out.send_multipart(frames)

    def send_state(self, topic: str, **own: Any) -> None:
        """Publish a state, and remember it for new readers."""
        self.states[topic] = own
        self.send(topic, **own)

    def welcome(self) -> None:
        """Read which readers came and left. Send a new reader the states, then held reports."""
        while self.out.poll(0):
            request = self.out.recv()
            begins, name = request[:1] == b"\1", request[1:].decode("utf-8", "replace")
            if name == f"!{REPORT}":
                self.consumers += 1 if begins else -1
            for topic, own in list(self.states.items()) if begins else ():
                if topic.startswith(name):
                    self.send(topic, **own)
        self.release()

    def send_heard(self) -> None:
        """Publish the playhead."""
        player = self.player
        items = [item.report() for item in list(player.items.values())[-16:]]
        self.send_state(
            "heard",
            generation=player.generation,
            session=player.session,
            playing=player.playing,
            items=items,
        )
        self.last_heard = time.monotonic()

    def send_report(self, cut: list[Item], m: dict[str, Any], received_ns: int) -> None:
        """Publish a report of what a flush ended."""
        now = time.monotonic_ns()
        self.send_heard()
        self.send(
            REPORT,
            generation=self.player.generation,
            session=m["session"],
            cause=m.get("cause", "lost flush"),
            event_ns=m.get("event_ns", 0),
            flush_ns=m["t"] if "cause" in m else 0,
            received_ns=received_ns,
            silent_ns=now + 1_000_000_000 * FADE // RATE,
            latency_ns=0,
            items=[item.report() for item in cut],
        )

    def read(self, sock: zmq.Socket[bytes]) -> None:
        """Read one message. Drop a message that cannot be read."""
        frames = sock.recv_multipart()
        now = time.monotonic_ns()
        try:
            topic, header, pcm = frames
            m = msgpack.unpackb(header)
            if m["v"] != VERSION or type(m["v"]) is not int or len(pcm) > 32 * 1024 or len(pcm) % 2:
                return
            if topic == FLUSH:
                cut = self.player.flush(m["generation"], m["received"], m["interrupted"])
                if cut is not None:
                    self.send_report(cut, m, now)
            elif topic == STATE:
                self.newest = m["generation"]
            elif m["generation"] >= self.newest or m.get("out_of_band"):
                cut = self.player.audio(m, pcm)
                if cut:
                    self.send_report(cut, {"session": m["session"]}, now)
                elif m.get("last") and not self.player.playing:
                    self.send_heard()  # the item was played out before its end was known
        except Exception as error:  # noqa: BLE001 - a bad message must not end the stage
            print(f"playback: message refused: {error!r}", file=sys.stderr)

    def run(self) -> None:
        """Play for ever."""
        began, position = time.monotonic_ns(), 0
        while True:
            self.poller.poll(5)
            self.welcome()
            # before every message: a flush must not wait behind audio
            while sock := next((s for s in (self.flushes, self.replies) if s.poll(0)), None):
                self.read(sock)
            while began + (position + FRAME) * 1_000_000_000 // RATE < time.monotonic_ns():
                played_ns = began + position * 1_000_000_000 // RATE
                frame = self.player.render()
                place: dict[str, Any] = {
                    "stream": self.epoch,
                    "position": position,
                    "played_ns": played_ns,
                }
                self.send("speaker.frame", frame, **place)
                position += FRAME
            now = time.monotonic()
            playing = self.player.playing
            since = now - self.last_heard
            if playing != self.was_playing or since > (HEARD_S if playing else REPEAT_S):
                self.was_playing = playing
                self.send_heard()
            if now - self.last_health > REPEAT_S:
                self.last_health = now
                self.send_state(
                    "playback.health", pid=os.getpid(), ok=True, state="playing", counters={}
                )


def bus_directory() -> Path:
    """Return the bus directory."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    usual = f"{runtime}/bargein" if runtime else f"{tempfile.gettempdir()}/bargein-{os.getuid()}"
    directory = Path(os.environ.get("BARGEIN_BUS__DIRECTORY") or usual)
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))  # the launcher starts this stage again
    try:
        Stage(bus_directory()).run()
    except KeyboardInterrupt:
        pass
