"""The screen of ``bargein start`` and ``bargein demo``, as a process beside the launcher.

It observes the bus, reads what the launcher sends on standard input, and writes to standard output.
It may block there: nobody waits for it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

from commands import description, page
from commands.screen import output
from commands.screen.display import Display
from commands.screen.writing import Pipe, Terminal
from shared import bus, config, messages, registry
from shared.command_line import Parser
from shared.directory import BusError, prepare_directory
from shared.poller import Poller

#: How often something may become due, s.
TICK_S = 0.25
#: How often to check whether the launcher is still there, s.
LOOK_S = 2.0
#: The types of messages that the display reads.
READ = (
    messages.Transcript,
    messages.Heard,
    messages.Interruption,
    messages.LinkState,
    messages.ReplyState,
    messages.ToolState,
    messages.ToolResult,
    messages.Usage,
)
READY = "Speak: I'm listening. Ctrl-C ends."


def rows() -> list[registry.Topic]:
    """Return the topics that the display reads."""
    healths = [registry.health(stage) for stage in (*registry.STAGES, *registry.OPTIONAL)]
    return [*(registry.of(kind) for kind in READ), *healths]


class _Input:
    """The lines from the launcher."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._begun = b""  # of a line
        os.set_blocking(descriptor, False)

    def read(self) -> list[tuple[str, str, str]]:
        """Return the lines that have come: the kind, the process and the text of each."""
        try:
            data = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return []
        self.ended = not data
        *lines, self._begun = (self._begun + data).split(b"\n")
        found = [tuple(json.loads(line)) for line in lines]
        self.ended = self.ended or any(kind == "end" for kind, _, _ in found)
        return [line for line in found if line[0] != "end"]


def show(
    display: Display,
    terminal: Terminal | None,
    subscriber: bus.Subscriber,
    write: Callable[[str], None],
    link: Callable[[], str],
) -> None:
    """Show the conversation until the launcher ends it, or is gone.

    ``link`` returns the line that names the page, "" while there is none.
    """
    source = _Input(sys.stdin.fileno())
    launcher = os.getppid()
    poller = Poller()
    poller.watch(source.descriptor)
    for socket in subscriber.sockets:
        poller.watch(socket)
    looked_s = time.monotonic()
    linked = False
    while not source.ended:
        ready = poller.wait(TICK_S)
        now_s = time.monotonic()
        if terminal is not None:
            terminal.width = shutil.get_terminal_size().columns
        while (delivery := subscriber.receive()) is not None:
            write(display.take(delivery.topic, delivery.message, now_s))
        if source.descriptor in ready:
            for kind, name, text in source.read():
                write(display.process(kind, name, text, now_s))
        write(display.tick(now_s))
        if not linked and (line := link()):
            write(display.note(line))
            linked = True
        if now_s - looked_s > LOOK_S:
            looked_s = now_s
            if os.getppid() != launcher:
                break
    write(display.end())


def main() -> int:
    """Show the conversation; return the exit code."""
    # The launcher says when the conversation is over. A signal to the whole group (Ctrl-C, the
    # command timeout, a shell's kill %1) comes here too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parser = Parser(prog="commands.screen", description=description(__doc__))
    parser.add_argument("--ready", default=READY, help="the line that says that all is ready")
    parser.add_argument("--note", action="append", default=[], help="a line to show at first")
    parser.add_argument("--no-colour", action="store_true")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments).config
        directory = prepare_directory(config.bus_directory(settings))
    except (config.ConfigError, BusError) as error:
        print(error, file=sys.stderr)
        return 2
    terminal = None
    if sys.stdout.isatty():
        colours = not (arguments.no_colour or os.environ.get("NO_COLOR"))
        terminal = Terminal(colours=colours and os.environ.get("TERM") != "dumb")
    display = Display(
        terminal or Pipe(),
        ready=arguments.ready,
        transcribes=bool(settings.session.transcription_model),
    )

    def write(text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()

    before_ns = page.written_ns(directory)

    def link() -> str:
        found = page.link(directory, before_ns)
        return f"{page.invitation(settings)} {found}" if found else ""

    subscriber = bus.Subscriber(rows(), directory, config.bus_network(settings), observer=True)
    try:
        for note in arguments.note:
            write(display.note(note))
        show(display, terminal, subscriber, write, link)
    except BrokenPipeError:
        os._exit(output.READER_GONE)
    except OSError:
        os._exit(output.TERMINAL_GONE)
    finally:
        subscriber.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
