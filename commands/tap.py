"""``bargein tap list|echo|hz|bw|delay|health``: look at a running bus.

The tap only observes: it takes no message away from a stage, and no stage waits for it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from commands import health, phrases
from shared import bus, config, messages, recording, registry
from shared.audio import pcm
from shared.command_line import Parser
from shared.directory import BusError, prepare_directory
from shared.poller import Poller
from shared.printable import printable
from shared.redaction import shown, text_without_keys
from shared.running import holders
from shared.signals import arm_signals

DESCRIPTION = """\
Look at a running bus. The tap only observes: it takes no message away from a stage.

  health  whether each stage is well, its counters, and whether the messages that it reads arrive;
          the exit code is 0 if all stages of a conversation are well
  list    every topic, its publisher, and how often messages come
  echo    the messages of the named topics, until Ctrl-C: transcripts, interruptions and usage in
          words and milliseconds, all others (with --json: all) as one line of JSON each
  hz      the rate of each topic
  bw      the bandwidth of each topic, without the headers
  delay   how long each message took from its publisher to the tap"""

#: The message types whose payload is text. All other payloads are sound.
TEXT = (messages.ClientEvent, messages.ServerEvent, messages.History)
#: A longer text is cut in the output of ``echo``, bytes: a screen holds about this much.
LONGEST = 2000
#: The longest wait for a message, s: how soon the tap notices that it was asked to end.
WAIT_S = 0.2
#: How long a look lasts by default, s. Each stage sends its last health at once, and a new one each
#: second: 2.5 s are enough for two new ones, whose difference is the rate at which the stage
#: receives a topic.
HEALTH_S, TABLE_S = 2.5, 3.0
#: A recording has its messages in the order in which the recorder read them from several sockets. A
#: message can follow one that was published a moment later. That moment is less than this, s.
DISORDER_S = 1.0


@dataclass
class _Seen:
    """The messages of one topic that the tap has seen."""

    messages: int = 0
    size: int = 0  # bytes of payload
    first: float = 0.0  # s, monotonic
    last: float = 0.0  # s, monotonic
    delays_ns: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        span = self.last - self.first
        return (self.messages - 1) / span if self.messages > 1 and span > 0 else 0.0


def _deliveries(
    subscriber: bus.Subscriber, seconds: float, ended: threading.Event
) -> Iterator[bus.Delivery[messages.Message]]:
    """Yield the messages of the next ``seconds`` (0: no limit), until ``ended`` is set."""
    poller = Poller()
    for socket in subscriber.sockets:
        poller.watch(socket)
    end = time.monotonic() + seconds if seconds else float("inf")
    while (left := end - time.monotonic()) > 0 and not ended.is_set():
        poller.wait(min(left, WAIT_S))
        while not ended.is_set() and (delivery := subscriber.receive()) is not None:
            yield delivery


def _recorded(
    path: Path, rows: Sequence[registry.Topic], seconds: float, ended: threading.Event
) -> Iterator[bus.Delivery[messages.Message]]:
    """Yield the messages of the first ``seconds`` (0: all) of a file. Raises RecordingError."""
    names = {row.name for row in rows}
    begun_ns, shown, about = 0, False, recording.Recording()
    for each in recording.read(path, about):
        begun_ns = begun_ns or each.stamp.t
        after_s = (each.stamp.t - begun_ns) / 1e9 - seconds if seconds else 0.0
        if ended.is_set():
            return
        if after_s > DISORDER_S:
            break
        if after_s <= 0 and each.topic.name in names:
            shown = True
            yield bus.Delivery(each.topic, each.message, each.stamp, restarted=False, lost=0)
    for line in about.left_out():
        print(f"tap: {line}", file=sys.stderr)
    if not shown:
        what = "these topics" if begun_ns else "the bus"
        raise recording.RecordingError(f"{path}: no message of {what} is in it")


def _watch(deliveries: Iterator[bus.Delivery[messages.Message]], *, live: bool) -> dict[str, _Seen]:
    """Return figures about each topic. ``live``: the messages come now, not from a recording."""
    seen: dict[str, _Seen] = {}
    for delivery in deliveries:
        at_ns = time.monotonic_ns() if live else delivery.stamp.t
        row = seen.setdefault(delivery.topic.name, _Seen(first=at_ns / 1e9))
        row.messages += 1
        row.size += len(delivery.message.payload)
        row.last = at_ns / 1e9
        row.delays_ns.append(at_ns - delivery.stamp.t)
    return seen


def _plain(delivery: bus.Delivery[messages.Message]) -> dict[str, Any]:
    """Return a message as a plain map: text without keys, sound as its length and level."""
    fields = msgspec.to_builtins(delivery.message, builtin_types=(bytes,))
    payload = fields.pop("payload")
    if payload:
        if isinstance(delivery.message, TEXT):
            fields["text"] = text_without_keys(payload)[:LONGEST].decode("utf-8", "replace")
        else:
            even = payload[: len(payload) & ~1]
            fields["audio_ms"] = pcm.samples_to_ms(len(even) // pcm.SAMPLE_BYTES)
            fields["dbfs"] = round(pcm.dbfs(even))
    return {"topic": delivery.topic.name, "seq": delivery.stamp.seq, **fields}


def _list(seen: dict[str, _Seen]) -> None:
    print(f"{'topic':<18} {'publisher':<10} {'type':<15} {'queue':<8} {'nominal':>8} {'now':>9}")
    for topic in registry.TOPICS:
        row = seen.get(topic.name)
        now = "-" if row is None else f"{row.rate:.1f} Hz" if row.messages > 1 else "1 message"
        nominal = f"{topic.rate_hz:g} Hz" if topic.rate_hz else "events"
        print(
            f"{topic.name:<18} {topic.publisher:<10} {topic.type.__name__:<15}"
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


def _echo(deliveries: Iterator[bus.Delivery[messages.Message]], *, raw: bool) -> None:
    for delivery in deliveries:
        words = None if raw else phrases.lines(delivery.message)
        for line in words or [msgspec.json.encode(_plain(delivery)).decode()]:
            print(printable(line), flush=True)


def _health(
    deliveries: Iterator[bus.Delivery[messages.Message]],
    pids: Callable[[], dict[str, int]],
    *,
    live: bool,
) -> int:
    found: dict[str, health.Watched] = {}
    at_ns = 0
    for delivery in deliveries:
        message, at_ns = delivery.message, delivery.stamp.t
        if isinstance(message, messages.Health):
            stage = delivery.topic.publisher
            if stage in found:
                found[stage].take(message, at_ns)
            else:
                found[stage] = health.Watched(message, at_ns, message, at_ns, repeated=True)
    lines, well = health.report(found, pids(), time.monotonic_ns() if live else at_ns)
    print("\n".join(lines))
    return 0 if well else 1


TABLES: dict[str, Callable[[dict[str, _Seen]], None]] = {
    "list": _list,
    "hz": _hz,
    "bw": _bw,
    "delay": _delay,
}


def _look(
    arguments: argparse.Namespace,
    deliveries: Iterator[bus.Delivery[messages.Message]],
    pids: Callable[[], dict[str, int]],
    nothing: str,
    *,
    live: bool,
) -> int:
    """Show what the command line asks for; return the exit code."""
    if arguments.look == "echo":
        _echo(deliveries, raw=arguments.json)
        return 0
    if arguments.look == "health":
        return _health(deliveries, pids, live=live)
    seen = _watch(deliveries, live=live)
    TABLES[arguments.look](seen)
    if not seen:
        print(f"tap: no message {nothing}", file=sys.stderr)
    return 0 if seen else 1


def run(line: Sequence[str], ended: threading.Event) -> int:
    """Run one look, until it is over or ``ended`` is set; return the exit code."""
    parser = Parser(
        prog="bargein tap",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("look", choices=[*TABLES, "echo", "health"])
    parser.add_argument("topic", nargs="*", help="only these topics (default: all)")
    long = f"how long to look, s (default: health {HEALTH_S:g}, echo no limit, others {TABLE_S:g})"
    parser.add_argument("--seconds", type=float, help=long)
    parser.add_argument("--json", action="store_true", help="echo: all messages as JSON")
    parser.add_argument("--file", type=Path, help="look at a recording instead of a running bus")
    config.add_arguments(parser)
    arguments = parser.parse_args(line)
    try:
        settings = config.load(arguments).config
        directory = config.bus_directory(settings)
        network = config.bus_network(settings)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    unknown = [name for name in arguments.topic if name not in registry.BY_NAME]
    if unknown or (arguments.look == "echo" and not arguments.topic):
        what = f"no topic {shown(unknown[0])}" if unknown else "echo needs a topic"
        print(f"tap: {what}; the topics are {' '.join(registry.BY_NAME)}", file=sys.stderr)
        return 2
    rows = [registry.BY_NAME[name] for name in arguments.topic] or list(registry.TOPICS)
    if arguments.look == "health":
        rows = [topic for topic in registry.TOPICS if topic.type is messages.Health]
    if arguments.file is not None:
        if arguments.look == "delay":
            print("tap: a recording does not tell how long messages took", file=sys.stderr)
            return 2
        try:
            messages_of = _recorded(arguments.file, rows, arguments.seconds or 0, ended)
            return _look(arguments, messages_of, dict, f"is in {arguments.file}", live=False)
        except recording.RecordingError as error:
            print(f"tap: {error}", file=sys.stderr)
            return 1
    if not directory.is_dir() and not network.addresses:
        print(f"tap: nothing has run on {directory} yet: start a stage first", file=sys.stderr)
        return 1
    try:
        # In a directory that others can write to, the messages could be another user's.
        prepare_directory(directory)
    except BusError as error:
        print(f"tap: {error}", file=sys.stderr)
        return 1
    subscriber = bus.Subscriber(rows, directory, network, observer=True)
    usual_s = {"echo": 0.0, "health": HEALTH_S}.get(arguments.look, TABLE_S)
    try:
        found = _deliveries(subscriber, arguments.seconds or usual_s, ended)
        nothing = f"came on {directory}: is a stage running?"
        return _look(arguments, found, lambda: holders(directory), nothing, live=True)
    finally:
        subscriber.close()


def main() -> int:
    """Run one look; return the exit code.

    Ctrl-C ends the look, and what was seen until then is shown. KeyboardInterrupt is not used: it
    could be raised, and be lost, inside code that Python calls from C. A thread waits for the
    signal instead, and ends the process even if the terminal takes no more output.
    """
    # The end of the program that reads the output (| head) ends the tap without a message.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    ended = threading.Event()
    arm_signals(lambda _reason, _code: ended.set())
    return run(sys.argv[1:], ended)


if __name__ == "__main__":
    sys.exit(main())
