"""``bargein console``: show the conversation in this terminal, with keys and a line to type in.

The console only observes the bus. It sends the person's commands through the door, which the stage
monitor opens. ``--plain`` prints lines instead, for a log or a screen reader.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

from commands import description, door
from commands.screen.__main__ import rows
from commands.screen.display import Display
from commands.screen.writing import Pipe
from shared import bus, config, messages, registry
from shared.command_line import Parser
from shared.directory import BusError, prepare_directory
from shared.poller import Poller
from shared.signals import arm_signals

#: The types of messages that only the console shows.
MORE = (
    messages.TurnDecision,
    messages.MicClean,
    messages.SpeakerFrame,
    messages.Panel,
    messages.History,
)
#: How often something may become due, s.
TICK_S = 0.25


def plain(subscriber: bus.Subscriber, display: Display, ended: threading.Event) -> None:
    """Print the conversation line by line, until ``ended`` is set."""
    poller = Poller()
    for socket in subscriber.sockets:
        poller.watch(socket)
    while not ended.is_set():
        poller.wait(TICK_S)
        now_s = time.monotonic()
        out = display.tick(now_s)
        while (delivery := subscriber.receive()) is not None:
            out += display.take(delivery.topic, delivery.message, now_s)
        print(out, end="", flush=True)
    print(display.end(), end="", flush=True)


def main() -> int:
    """Show the conversation until the person quits; return the exit code."""
    parser = Parser(prog="bargein console", description=description(__doc__))
    parser.add_argument("--plain", action="store_true", help="print lines on standard output")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments).config
        directory = prepare_directory(config.bus_directory(settings))
        network = config.bus_network(settings)
    except (config.ConfigError, BusError) as error:
        print(error, file=sys.stderr)
        return 2
    if not arguments.plain and not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("console: this is no terminal: use --plain", file=sys.stderr)
        return 1
    topics = rows() if arguments.plain else [*rows(), *(registry.of(kind) for kind in MORE)]
    subscriber = bus.Subscriber(topics, directory, network, observer=True)
    try:
        if arguments.plain:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            ended = threading.Event()
            arm_signals(lambda _reason, _code: ended.set())
            transcribes = bool(settings.session.transcription_model)
            display = Display(Pipe(), ready="listening", transcribes=transcribes)
            plain(subscriber, display, ended)
            return 0
        # Textual takes 0.3 s to import.
        from commands.console.app import Console  # noqa: PLC0415

        def send(command: dict[str, Any]) -> tuple[bool, str]:
            try:
                return door.send(directory, command)
            except door.NoDoor as error:
                return False, str(error)

        Console(subscriber, send).run()
        return 0
    finally:
        subscriber.close()


if __name__ == "__main__":
    sys.exit(main())
