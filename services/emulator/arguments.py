"""The command line of the emulator: its options and their help texts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from services.emulator import option_values as read
from services.emulator.options import (
    DEFAULT_URL,
    GARBAGE,
    ODD_DELTAS,
    URL_VARIABLE,
    BadOption,
    Faults,
    Options,
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


#: An option: its name on the command line, the field of Options or Faults that it sets, and
#: argparse's keywords. ``parse`` reads "burst" and "odd_deltas", which are no fields.
_Option = tuple[str, str, dict[str, Any]]


def _one(name: str, field: str, reader: Callable[[str], Any], metavar: str, text: str) -> _Option:
    """Return an option with one value."""
    return name, field, {"type": reader, "metavar": metavar, "help": text}


def _switch(name: str, field: str, text: str) -> _Option:
    """Return an option without a value."""
    return name, field, {"action": "store_true", "help": text}


_GROUPS: Final[Mapping[str, Sequence[_Option]]] = {
    "connection": [
        _one(
            "--url",
            "url",
            str,
            "URL",
            "the address to listen on; port 0 selects a free port (default: the environment"
            f" variable {URL_VARIABLE}, or {DEFAULT_URL})",
        ),
        (
            "--key",
            "keys",
            {
                "action": "append",
                "metavar": "KEY",
                "help": "accept this API key only; repeat the option to accept several (default:"
                " accept any key, and clients without one)",
            },
        ),
        (
            "--origin",
            "origins",
            {
                "action": "append",
                "metavar": "ORIGIN",
                "help": "also accept web pages of this origin, for example http://localhost:3000;"
                " repeat the option for several (default: no page of another address)",
            },
        ),
        _one(
            "--ping",
            "ping_s",
            read.number(0.01, 3600),
            "S",
            "send a WebSocket ping every S seconds (default 20.3, as the service does)",
        ),
        _one(
            "--expire",
            "expire_s",
            read.number(0.01, 86_400),
            "S",
            "end a session after S seconds (default 3600, as the service does)",
        ),
    ],
    "what the assistant says": [
        _one(
            "--reply",
            "reply",
            read.reply,
            "WHAT",
            "speech: a greeting, then recorded replies in turn (default). tone:<seconds>: a"
            " tone of rising pitch, whose pitch tells the position. clip:<name>: always the"
            " same clip",
        ),
        _one(
            "--voice",
            "voice",
            Path,
            "DIR",
            "the directory with index.json and the clips (default: the recorded voice that"
            " comes with the emulator)",
        ),
        _one(
            "--call-every",
            "call_every",
            read.count(0, 1000),
            "N",
            "answer every Nth spoken turn with a function call, if the client has set tools"
            ' and tool_choice "auto" (default 0: never)',
        ),
    ],
    "how replies are sent": [
        _one(
            "--pace",
            "pace",
            read.number(0, 1000),
            "X",
            "send audio X times as fast as it plays (default 4; 0 sends a whole reply at once)",
        ),
        _one(
            "--delta-bytes",
            "delta_bytes",
            read.sizes,
            "N[,N…]",
            "put N bytes of audio into each delta; in a list, the first delta has the first"
            " size, and the last size repeats (default 4800,12000)",
        ),
        _one(
            "--latency",
            "latency_ms",
            read.milliseconds,
            "MS",
            "wait MS ms between response.created and the first delta (default 0)",
        ),
        _one(
            "--skew",
            "skew_ms",
            read.milliseconds,
            "MS",
            "take a spoken item to be MS ms shorter than the audio that was sent: the emulator"
            " refuses a truncate beyond that length (default 85, as observed on the service)",
        ),
        _one(
            "--call",
            "call_ms",
            read.milliseconds,
            "MS",
            "stream the arguments of a function call over MS ms (default 200)",
        ),
    ],
    "log and journal": [
        _one(
            "--journal",
            "journal",
            Path,
            "FILE",
            "append to FILE, one JSON object per line, every reply, truncate, delete and"
            " interruption, and every item that a client creates; on SIGUSR1, the content of"
            " every conversation",
        ),
        (
            "--log-level",
            "log_level",
            {
                "choices": ("debug", "info", "warning", "error"),
                "help": "log messages of this level and above to standard error (default info)",
            },
        ),
    ],
    "faults (all off by default)": [
        _one(
            "--late",
            "late_ms",
            read.milliseconds,
            "MS",
            "when a response is cancelled, go on sending its deltas for MS ms, then send its"
            " response.done",
        ),
        _one(
            "--late-after",
            "late_after_ms",
            read.milliseconds,
            "MS",
            "after the response.done of a cancelled response, go on sending its deltas for MS ms",
        ),
        _one(
            "--stall",
            "stall",
            read.stall,
            "AFTER:FOR",
            "after AFTER ms of a reply's audio, send nothing for FOR ms, then the rest",
        ),
        _switch("--burst", "burst", "send every reply at once (the same as --pace 0)"),
        _switch(
            "--odd-deltas",
            "odd_deltas",
            f"repeat these sizes of deltas, in bytes: {', '.join(map(str, ODD_DELTAS))}",
        ),
        _switch(
            "--commentary",
            "commentary",
            "put two audio items into every reply: a remark, then the answer",
        ),
        _one(
            "--drop-after",
            "drop_after_ms",
            read.milliseconds,
            "MS",
            "reset the TCP connection after MS ms of audio were sent in the session",
        ),
        _one(
            "--garbage",
            "garbage",
            read.garbage,
            "KIND[,KIND…]",
            "send invalid messages before the audio of every reply: all, or some of"
            f" {', '.join(GARBAGE)}",
        ),
        _one(
            "--fail",
            "fail",
            str,
            "CODE",
            "make every response fail with this error code, for example insufficient_quota",
        ),
        _one(
            "--fail-transcription",
            "fail_transcription",
            str,
            "CODE",
            "make every transcription fail with this error code, for example audio_unintelligible",
        ),
    ],
}


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Return the options that a command line sets.

    Raises BadOption with one line for an option that cannot be used, and SystemExit(0) after
    ``--help``.
    """
    given = vars(_parser().parse_args(argv))
    environ = os.environ if environ is None else environ
    given.setdefault("url", environ.get(URL_VARIABLE) or DEFAULT_URL)
    loopback_address(given["url"])
    for several in {"keys", "origins"} & given.keys():
        given[several] = tuple(given[several])
    if given.pop("burst", False):
        given["pace"] = 0.0
    if given.pop("odd_deltas", False):
        given |= {"delta_bytes": ODD_DELTAS, "cycle_deltas": True}
    faults = {name: given.pop(name) for name in Faults.__dataclass_fields__ if name in given}
    return Options(**given, faults=Faults(**faults))


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
    for title, options in _GROUPS.items():
        group = parser.add_argument_group(title)
        for name, field, keywords in options:
            # An option that is not given is not set, so that the field's own default holds.
            group.add_argument(name, dest=field, default=argparse.SUPPRESS, **keywords)
    return parser
