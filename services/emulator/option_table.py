"""The options of the command line and their help texts, as a table. ``arguments`` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.emulator import option_values as read
from services.emulator.options import DEFAULT_URL, GARBAGE, ODD_DELTAS, URL_VARIABLE
from services.emulator.twists import TWISTS

#: An option: its name on the command line, the field of Options or Faults that it sets, and
#: argparse's keywords. ``parse`` reads "burst" and "odd_deltas", which are no fields.
Option = tuple[str, str, dict[str, Any]]


def _one(name: str, field: str, reader: Callable[[str], Any], metavar: str, text: str) -> Option:
    """Return an option with one value."""
    return name, field, {"type": reader, "metavar": metavar, "help": text}


def _switch(name: str, field: str, text: str) -> Option:
    """Return an option without a value."""
    return name, field, {"action": "store_true", "help": text}


GROUPS: Final[Mapping[str, Sequence[Option]]] = {
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
                "help": "accept only this API key; repeat the option to accept several (default:"
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
                " repeat the option to accept several (default: no page of another address)",
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
            "treat a spoken item as MS ms shorter than the audio that was sent: the emulator"
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
            "append to FILE, as one JSON object per line, every reply, truncate, delete and"
            " interruption, and every item that a client creates; at SIGUSR1, also the content of"
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
        (
            "--twist",
            "twists",
            {
                "action": "append",
                "choices": tuple(TWISTS),
                "metavar": "NAME",
                "help": "behave as some other servers do (see the list below); repeat the option to"
                " combine twists",
            },
        ),
        (
            "--omit",
            "omitted",
            {
                "action": "append",
                "type": read.event_type,
                "metavar": "EVENT",
                "help": "never send events of this type, for example response.done; repeat the"
                " option to leave out more types",
            },
        ),
        _one(
            "--slots",
            "slots",
            read.count(0, 1000),
            "N",
            "accept at most N sessions at once: a further client gets the error"
            " session_limit_reached and the close code 1008. A slot is free again 0.3 s after its"
            " session has ended",
        ),
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
