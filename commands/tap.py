"""A look at a running bus: ``python -m commands.tap list|echo|hz|bw|delay|health``.

It only subscribes, so it takes nothing away from anyone and slows nobody down.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared import bus, config, messages, registry
from shared.audio import pcm

#: What carries text; all other payloads are sound.
TEXT = (messages.ClientEvent, messages.ServerEvent, messages.History, messages.HistoryMirror)


@dataclass
class _Seen:
    """What was seen of one topic."""

    messages: int = 0
    size: int = 0  # bytes of payload
    first: float = 0.0  # s
    last: float = 0.0
    delays_ns: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        span = self.last - self.first
        return (self.messages - 1) / span if self.messages > 1 and span > 0 else 0.0


def _deliveries(
    subscriber: bus.Subscriber, seconds: float
) -> Iterator[bus.Delivery[messages.Message] | None]:
    """Give what comes for ``seconds`` (0: for ever), and None whenever nothing does for a while."""
    poller = bus.Poller()
    for socket in subscriber.sockets:
        poller.watch(socket)
    end = time.monotonic() + seconds if seconds else float("inf")
    while (left := end - time.monotonic()) > 0:
        poller.wait(min(left, 0.2))
        while (delivery := subscriber.receive()) is not None:
            yield delivery
        yield None


def _watch(subscriber: bus.Subscriber, seconds: float) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    try:
        for delivery in _deliveries(subscriber, seconds):
            if delivery is None:
                continue
            row = seen.setdefault(delivery.topic.name, _Seen(first=time.monotonic()))
            row.messages += 1
            row.size += len(delivery.message.payload)
            row.last = time.monotonic()
            row.delays_ns.append(time.monotonic_ns() - delivery.stamp.t)
    except KeyboardInterrupt:
        pass  # what was seen so far is still worth showing
    return seen


def _plain(delivery: bus.Delivery[messages.Message]) -> dict[str, Any]:
    """Give a message as a plain map: text payloads as text, audio as its length and level."""
    fields = msgspec.to_builtins(delivery.message, builtin_types=(bytes,))
    payload = fields.pop("payload")
    if payload:
        if isinstance(delivery.message, TEXT):
            fields["text"] = payload[:2000].decode("utf-8", "replace")
        else:
            even = payload[: len(payload) & ~1]
            fields["audio_ms"] = pcm.samples_to_ms(len(even) // pcm.SAMPLE_BYTES)
            fields["dbfs"] = round(pcm.dbfs(even))
    return {"topic": delivery.topic.name, "seq": delivery.stamp.seq, **fields}


def _list(seen: dict[str, _Seen]) -> None:
    print(f"{'topic':<18} {'publisher':<10} {'type':<13} {'queue':<8} {'nominal':>8} {'now':>9}")
    for topic in registry.TOPICS:
        row = seen.get(topic.name)
        now = "-" if row is None else f"{row.rate:.1f} Hz" if row.messages > 1 else "1 message"
        nominal = f"{topic.rate_hz:g} Hz" if topic.rate_hz else "events"
        print(
            f"{topic.name:<18} {topic.publisher:<10} {topic.type.__name__:<13}"
            f" {topic.queue.name.lower():<8} {nominal:>8} {now:>9}"
        )


def _hz(seen: dict[str, _Seen]) -> None:
    for name, row in sorted(seen.items()):
        print(f"{name:<18} {row.rate:8.1f} Hz  {row.messages} messages")


def _bw(seen: dict[str, _Seen]) -> None:
    for name, row in sorted(seen.items()):
        span = max(row.last - row.first, 1e-9)
        rate = row.size / span / 1000 if row.messages > 1 else 0.0
        print(f"{name:<18} {rate:10.1f} kB/s  {row.size} bytes")


def _delay(seen: dict[str, _Seen]) -> None:
    for name, row in sorted(seen.items()):
        delays = sorted(row.delays_ns)
        middle, most = delays[len(delays) // 2] / 1e6, delays[-1] / 1e6
        print(f"{name:<18} median {middle:7.2f} ms  worst {most:7.2f} ms")


def _echo(subscriber: bus.Subscriber, seconds: float) -> None:
    for delivery in _deliveries(subscriber, seconds):
        if delivery is not None:
            print(msgspec.json.encode(_plain(delivery)).decode(), flush=True)


def _health(subscriber: bus.Subscriber, seconds: float) -> int:
    found: dict[str, messages.Health] = {}
    for delivery in _deliveries(subscriber, seconds):
        if delivery is not None and isinstance(delivery.message, messages.Health):
            found[delivery.topic.publisher] = delivery.message
    for stage in (*registry.STAGES, *registry.LISTENERS):
        health = found.get(stage)
        if health is None:
            print(f"{stage:<10} not running")
            continue
        mark = "ok" if health.ok else "NOT OK"
        print(f"{stage:<10} {mark:<7} pid {health.pid:<7} {health.state}")
        counters = " ".join(f"{k}={v}" for k, v in sorted(health.counters.items()) if v)
        if counters:
            print(f"{'':<10} {counters}")
    return 0 if all(s in found and found[s].ok for s in registry.STAGES) else 1


TABLES: dict[str, Callable[[dict[str, _Seen]], None]] = {
    "list": _list,
    "hz": _hz,
    "bw": _bw,
    "delay": _delay,
}


def main() -> int:
    """Run one look."""
    parser = argparse.ArgumentParser(prog="bargein tap", description=__doc__)
    parser.add_argument("look", choices=[*TABLES, "echo", "health"])
    parser.add_argument("topic", nargs="*", help="only these topics (default: all)")
    parser.add_argument("--seconds", type=float, help="how long (echo: until Ctrl-C)")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    # a reader that goes away (| head) ends this quietly
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        settings = config.load(arguments).config
        directory = config.bus_directory(settings)
        network = config.bus_network(settings)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    unknown = [name for name in arguments.topic if name not in registry.BY_NAME]
    if unknown or (arguments.look == "echo" and not arguments.topic):
        what = f"no topic {unknown[0]}" if unknown else "echo needs a topic"
        print(f"tap: {what}; the topics are {' '.join(registry.BY_NAME)}", file=sys.stderr)
        return 2
    rows = [registry.BY_NAME[name] for name in arguments.topic] or list(registry.TOPICS)
    if arguments.look == "health":
        rows = [topic for topic in registry.TOPICS if topic.type is messages.Health]
    if not directory.is_dir() and not network.addresses:
        print(f"tap: nothing has run on {directory} yet: start a stage first", file=sys.stderr)
        return 1
    try:
        # what it shows should be what our own stages say
        bus.prepare_directory(directory)
    except bus.BusError as error:
        print(f"tap: {error}", file=sys.stderr)
        return 1
    subscriber = bus.Subscriber(rows, directory, network, observer=True)
    try:
        if arguments.look == "echo":
            _echo(subscriber, arguments.seconds or 0)
        elif arguments.look == "health":
            return _health(subscriber, arguments.seconds or 1.5)
        else:
            seen = _watch(subscriber, arguments.seconds or 3.0)
            TABLES[arguments.look](seen)
            if not seen:
                print(f"tap: nothing was said on {directory}: is a stage running?", file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        pass
    finally:
        subscriber.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
