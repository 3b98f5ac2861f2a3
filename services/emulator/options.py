"""What can be set, and the command line that sets it."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

VOICE: Final = Path(__file__).parent / "voice"
DEFAULT_URL: Final = "ws://127.0.0.1:8790/v1/realtime"
URL_VARIABLE: Final = "BARGEIN_LINK__URL"
ODD_DELTAS: Final = (1, 4799, 3, 12001, 1, 1, 7777)
GARBAGE: Final = ("json", "event", "binary", "base64", "fields")


class BadOption(Exception):
    """Raised when an option cannot be used; its text is the one line that is shown."""


@dataclass(frozen=True)
class Stall:
    """A pause in mid-reply: the audio stops coming, and later goes on where it stopped."""

    #: Audio of the reply that is sent before the pause, ms.
    after_ms: int
    #: How long nothing is sent, ms.
    for_ms: int


@dataclass(frozen=True)
class Faults:
    """What goes wrong on purpose. All off by default."""

    #: A cancelled response goes on sending deltas for this long before its response.done, ms.
    late_ms: int = 0
    #: … and for this long after its response.done, ms.
    late_after_ms: int = 0
    #: A pause in the audio of every reply.
    stall: Stall | None = None
    #: Every reply is two items: a spoken remark (phase commentary), then the answer.
    commentary: bool = False
    #: The TCP connection is reset once this much audio was sent in the session, ms.
    drop_after_ms: int | None = None
    #: Sent ahead of the first audio of every reply: kinds out of GARBAGE.
    garbage: tuple[str, ...] = ()
    #: Every response fails with this error code (e.g. ``insufficient_quota``).
    fail: str | None = None

    def describe(self) -> list[str]:
        """Give each fault that is on as a few words."""
        said = []
        if self.late_ms:
            said.append(f"{self.late_ms} ms of deltas between a cancel and its response.done")
        if self.late_after_ms:
            said.append(f"{self.late_after_ms} ms of deltas after a cancelled response's done")
        if self.stall:
            said.append(f"stall after {self.stall.after_ms} ms for {self.stall.for_ms} ms")
        if self.commentary:
            said.append("two audio items in a reply")
        if self.drop_after_ms is not None:
            said.append(f"connection reset after {self.drop_after_ms} ms of audio")
        if self.garbage:
            said.append(f"garbage ({', '.join(self.garbage)})")
        if self.fail:
            said.append(f"responses fail with {self.fail}")
        return said


@dataclass(frozen=True)
class Options:
    """Everything that can be set."""

    #: Where to listen. Loopback only; port 0 takes a free one.
    url: str = DEFAULT_URL
    #: Keys that are accepted; with none, any key or no key is.
    keys: tuple[str, ...] = field(default=(), repr=False)
    #: What is said: ``speech``, ``tone:<seconds>`` or ``clip:<name>``.
    reply: str = "speech"
    #: Directory with index.json and the clips.
    voice: Path = VOICE
    #: Audio is sent this many times faster than it plays; 0 sends all of it at once.
    pace: float = 4.0
    #: Bytes per audio delta, in turn; the last size repeats, or all of them do if ``cycle_deltas``.
    delta_bytes: tuple[int, ...] = (4800, 12000)
    cycle_deltas: bool = False
    #: From response.created to the first delta, ms; the item is added half way.
    latency_ms: int = 0
    #: A spoken item is this much shorter at the server than the bytes that were sent, ms.
    skew_ms: int = 85
    #: With tools and tool_choice auto, every so many spoken turns are answered by a call; 0: none.
    call_every: int = 0
    #: How long the arguments of a function call take to stream, ms.
    call_ms: int = 200
    #: A session ends this long after it began, s.
    expire_s: float = 3600.0
    #: Between pings, s.
    ping_s: float = 20.3
    #: Where truncates, interruptions and replies are written down, a JSON object a line.
    journal: Path | None = None
    log_level: str = "info"
    faults: Faults = Faults()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises BadOption unless the URL is ws:// and loopback."""
        return _address(self.url)

    @property
    def path(self) -> str:
        """The path of the URL."""
        return urlsplit(self.url).path or "/"


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Read the command line. Raises BadOption with one line; SystemExit(0) after ``--help``."""
    given = vars(_parser().parse_args(argv))
    environ = os.environ if environ is None else environ
    url = given["url"] or environ.get(URL_VARIABLE) or DEFAULT_URL
    _address(url)
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


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
    except ValueError as error:
        raise BadOption(f"--url {url}: {error}") from None
    if parts.scheme != "ws":
        raise BadOption(
            f"--url {url}: the emulator speaks ws:// on loopback only, such as {DEFAULT_URL}"
            f" (from --url, or {URL_VARIABLE} in the environment)"
        )
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise BadOption(
            f"--url {url}: {host or 'no host'} is not loopback, and the emulator listens nowhere"
            f" else: use 127.0.0.1, such as {DEFAULT_URL}"
        )
    return host, port


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line and an exception."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message} (--help shows the options)")


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


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_count(1, 1 << 20)(part) for part in text.split(","))


_sizes.__name__ = "list of byte counts"


def _stall(text: str) -> Stall:
    after, _, duration = text.partition(":")
    return Stall(_count(0, 3_600_000)(after), _count(0, 3_600_000)(duration))


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


def _parser() -> argparse.ArgumentParser:
    ms = _count(0, 3_600_000)
    parser = _Parser(
        prog="bargein emulator",
        description="A Realtime server on loopback that hears, answers aloud and keeps time.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--url", help=f"where to listen (default: {URL_VARIABLE} or {DEFAULT_URL}); port 0: any")
    add(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="a key to accept, repeatable (default: any key, or none)",
    )
    add(
        "--reply",
        type=_reply,
        default="speech",
        metavar="WHAT",
        help="speech (default), tone:<seconds> (a rising tone), clip:<name> (always this one)",
    )
    add("--voice", type=Path, default=VOICE, metavar="DIR", help="where index.json and clips are")
    add(
        "--pace",
        type=_number(0, 1000),
        default=4.0,
        metavar="X",
        help="times real time at which audio is sent (default 4; 0: all at once)",
    )
    add(
        "--delta-bytes",
        type=_sizes,
        default=(4800, 12000),
        metavar="N[,N…]",
        help="audio bytes per delta, the last repeats (default 4800,12000)",
    )
    add(
        "--latency",
        type=ms,
        default=0,
        metavar="MS",
        help="from response.created to the first delta (default 0)",
    )
    add(
        "--skew",
        type=ms,
        default=85,
        metavar="MS",
        help="the server's item is this much shorter than what it sent (default 85)",
    )
    add(
        "--call-every",
        type=_count(0, 1000),
        default=0,
        metavar="N",
        help="with tools and tool_choice auto, answer every Nth spoken turn with a call",
    )
    add(
        "--call",
        type=ms,
        default=200,
        metavar="MS",
        help="how long a call's arguments take to stream (default 200)",
    )
    add("--ping", type=_number(0.01, 3600), default=20.3, metavar="S", help="between pings")
    add(
        "--journal",
        type=Path,
        metavar="FILE",
        help="write truncates, interruptions, replies and what a client puts in down, a JSON object"
        " a line; at SIGUSR1 what every conversation holds",
    )
    add("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    fault = parser.add_argument_group("faults").add_argument
    fault(
        "--late",
        type=ms,
        default=0,
        dest="late_ms",
        metavar="MS",
        help="a cancelled response goes on sending deltas for MS before its response.done",
    )
    fault(
        "--late-after",
        type=ms,
        default=0,
        dest="late_after_ms",
        metavar="MS",
        help="… and for MS after it",
    )
    fault(
        "--stall",
        type=_stall,
        metavar="AFTER:FOR",
        help="after AFTER ms of a reply's audio, send none for FOR ms",
    )
    fault("--commentary", action="store_true", help="two audio items in every reply")
    fault(
        "--odd-deltas",
        action="store_true",
        help=f"odd byte counts: {', '.join(map(str, ODD_DELTAS))}, over and over",
    )
    fault("--burst", action="store_true", help="send every reply at once (as --pace 0)")
    fault(
        "--drop-after",
        type=ms,
        dest="drop_after_ms",
        metavar="MS",
        help="reset the connection after MS of audio",
    )
    fault(
        "--expire",
        type=_number(0.01, 86_400),
        default=3600.0,
        metavar="S",
        help="end the session after S seconds, as the service does after 3600",
    )
    fault(
        "--garbage",
        type=_garbage,
        default=(),
        metavar="KIND[,KIND…]",
        help=f"ahead of every reply's audio: all, or of {', '.join(GARBAGE)}",
    )
    fault("--fail", metavar="CODE", help="every response fails, such as with insufficient_quota")
    return parser
