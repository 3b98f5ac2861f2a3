"""The command line of the emulator: its options, their help texts, and their checks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from services.emulator.options import (
    DEFAULT_URL,
    GARBAGE,
    ODD_DELTAS,
    URL_VARIABLE,
    VOICE,
    BadOption,
    Faults,
    Options,
    Stall,
    loopback_address,
)

_DESCRIPTION: Final = """\
An emulator of the OpenAI Realtime API, for trying and testing a client without a
key, a network or a sound card. It listens on this machine only. It detects speech
in the audio that a client sends, answers aloud with recorded speech, keeps the
service's timing, and can break on purpose (see "faults")."""

_EPILOG: Final = """\
examples:
  bargein emulator
      speak recorded replies, on the default address
  bargein emulator --url ws://127.0.0.1:0/v1/realtime --reply tone:5
      listen on a free port (the log shows which), and answer with a tone of 5 s
  bargein emulator --late 600 --garbage all --journal journal.jsonl
      test how a client handles late audio and garbage, and keep a journal

SIGINT (Ctrl-C) or SIGTERM ends the emulator. SIGUSR1 makes it write the content of
every conversation to the journal."""


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Return the options that a command line sets.

    Raises BadOption with one line for an option that cannot be used, and SystemExit(0) after
    ``--help``.
    """
    given = vars(_parser().parse_args(argv))
    environ = os.environ if environ is None else environ
    url = given["url"] or environ.get(URL_VARIABLE) or DEFAULT_URL
    loopback_address(url)
    odd = given["odd_deltas"]
    faults = {name: given.pop(name) for name in Faults.__dataclass_fields__}
    return Options(
        url=url,
        keys=tuple(given["key"]),
        reply=given["reply"],
        voice=given["voice"],
        pace=0.0 if given["burst"] else given["pace"],
        delta_bytes=ODD_DELTAS if odd else given["delta_bytes"],
        cycle_deltas=odd,
        latency_ms=given["latency"],
        skew_ms=given["skew"],
        call_every=given["call_every"],
        call_ms=given["call"],
        expire_s=given["expire"],
        ping_s=given["ping"],
        journal=given["journal"],
        log_level=given["log_level"],
        faults=Faults(**faults),
    )


# The values of options. argparse shows a reader's ``__name__`` when the reader raises ValueError.


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    read.__name__ = "number"
    return read


def _count(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low} to {high}")
        return value

    read.__name__ = "whole number"
    return read


#: Reads a time in ms, of at most an hour.
_milliseconds = _count(0, 3_600_000)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_count(1, 1 << 20)(part) for part in text.split(","))


_sizes.__name__ = "list of byte counts"


def _stall(text: str) -> Stall:
    after, _, duration = text.partition(":")
    return Stall(_milliseconds(after), _milliseconds(duration))


_stall.__name__ = "AFTER:FOR in ms"


def _garbage(text: str) -> tuple[str, ...]:
    kinds = GARBAGE if text == "all" else tuple(text.split(","))
    for kind in kinds:
        if kind not in GARBAGE:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of all, {', '.join(GARBAGE)}")
    return kinds


def _reply(text: str) -> str:
    kind, _, argument = text.partition(":")
    if kind == "tone":
        _number(0.1, 600)(argument)
    elif not (text == "speech" or (kind == "clip" and argument)):
        raise argparse.ArgumentTypeError(f"{text!r} is none of speech, tone:<seconds>, clip:<name>")
    return text


# The options, by group.


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises BadOption with one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message} (--help shows the options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bargein emulator",
        usage="%(prog)s [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_connection(parser.add_argument_group("connection"))
    _add_replies(parser.add_argument_group("what the assistant says"))
    _add_timing(parser.add_argument_group("how replies are sent"))
    _add_output(parser.add_argument_group("log and journal"))
    _add_late_audio(faults := parser.add_argument_group("faults (all off by default)"))
    _add_broken_sessions(faults)
    return parser


def _add_connection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--url",
        help=f"the address to listen on; port 0 selects a free port (default: the environment"
        f" variable {URL_VARIABLE}, or {DEFAULT_URL})",
    )
    group.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="accept this API key only; repeat the option to accept several (default: accept any"
        " key, and clients without one)",
    )
    group.add_argument(
        "--ping",
        type=_number(0.01, 3600),
        default=20.3,
        metavar="S",
        help="send a WebSocket ping every S seconds (default 20.3, as the service does)",
    )


def _add_replies(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--reply",
        type=_reply,
        default="speech",
        metavar="WHAT",
        help="speech: a greeting, then recorded replies in turn (default). tone:<seconds>: a tone"
        " of rising pitch, whose pitch tells the position. clip:<name>: always the same clip",
    )
    group.add_argument(
        "--voice",
        type=Path,
        default=VOICE,
        metavar="DIR",
        help="the directory with index.json and the clips (default: the recorded voice that comes"
        " with the emulator)",
    )
    group.add_argument(
        "--call-every",
        type=_count(0, 1000),
        default=0,
        metavar="N",
        help="answer every Nth spoken turn with a function call, if the client has set tools and"
        ' tool_choice "auto" (default 0: never)',
    )


def _add_timing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pace",
        type=_number(0, 1000),
        default=4.0,
        metavar="X",
        help="send audio X times as fast as it plays (default 4; 0 sends a whole reply at once)",
    )
    group.add_argument(
        "--delta-bytes",
        type=_sizes,
        default=(4800, 12000),
        metavar="N[,N…]",
        help="put N bytes of audio into each delta; in a list, the first delta has the first size,"
        " and the last size repeats (default 4800,12000)",
    )
    group.add_argument(
        "--latency",
        type=_milliseconds,
        default=0,
        metavar="MS",
        help="wait MS ms between response.created and the first delta (default 0)",
    )
    group.add_argument(
        "--skew",
        type=_milliseconds,
        default=85,
        metavar="MS",
        help="take a spoken item to be MS ms shorter than the audio that was sent: the emulator"
        " refuses a truncate beyond that length (default 85, as observed on the service)",
    )
    group.add_argument(
        "--call",
        type=_milliseconds,
        default=200,
        metavar="MS",
        help="stream the arguments of a function call over MS ms (default 200)",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="append to FILE, one JSON object per line, every reply, truncate, delete and"
        " interruption, and every item that a client creates; on SIGUSR1, the content of every"
        " conversation",
    )
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="log messages of this level and above to standard error (default info)",
    )


def _add_late_audio(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--late",
        type=_milliseconds,
        default=0,
        dest="late_ms",
        metavar="MS",
        help="when a response is cancelled, go on sending its deltas for MS ms, then send its"
        " response.done",
    )
    group.add_argument(
        "--late-after",
        type=_milliseconds,
        default=0,
        dest="late_after_ms",
        metavar="MS",
        help="after the response.done of a cancelled response, go on sending its deltas for MS ms",
    )
    group.add_argument(
        "--stall",
        type=_stall,
        metavar="AFTER:FOR",
        help="after AFTER ms of a reply's audio, send nothing for FOR ms, then the rest",
    )
    group.add_argument(
        "--burst", action="store_true", help="send every reply at once (the same as --pace 0)"
    )
    group.add_argument(
        "--odd-deltas",
        action="store_true",
        help=f"repeat these sizes of deltas, in bytes: {', '.join(map(str, ODD_DELTAS))}",
    )
    group.add_argument(
        "--commentary",
        action="store_true",
        help="put two audio items into every reply: a remark, then the answer",
    )


def _add_broken_sessions(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--drop-after",
        type=_milliseconds,
        dest="drop_after_ms",
        metavar="MS",
        help="reset the TCP connection after MS ms of audio were sent in the session",
    )
    group.add_argument(
        "--expire",
        type=_number(0.01, 86_400),
        default=3600.0,
        metavar="S",
        help="end a session after S seconds (default 3600, as the service does)",
    )
    group.add_argument(
        "--garbage",
        type=_garbage,
        default=(),
        metavar="KIND[,KIND…]",
        help="send invalid messages before the audio of every reply: all, or some of"
        f" {', '.join(GARBAGE)}",
    )
    group.add_argument(
        "--fail",
        metavar="CODE",
        help="make every response fail with this error code, for example insufficient_quota",
    )
