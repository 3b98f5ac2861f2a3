"""The settings of the emulator and their defaults. ``arguments`` reads the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shared.redaction import Refusal

#: The directory of the recorded voice that belongs to the repository.
VOICE: Final = Path(__file__).parent / "voice"
DEFAULT_URL: Final = "ws://127.0.0.1:8790/v1/realtime"
#: The environment variable that sets the address, for the emulator and for its client alike.
URL_VARIABLE: Final = "BARGEIN_LINK__URL"
#: The sizes that ``--odd-deltas`` repeats, in bytes: odd, tiny and large.
ODD_DELTAS: Final = (1, 4799, 3, 12001, 1, 1, 7777)
#: The kinds of garbage that ``--garbage`` can send; ``faults`` builds them.
GARBAGE: Final = ("json", "event", "binary", "base64", "fields")


class BadOption(Refusal):
    """Raised when an option cannot be used. Its text is the one line that the user sees."""


@dataclass(frozen=True)
class Stall:
    """A pause in the middle of a reply: no audio is sent for a while, then the rest follows."""

    #: Length of the audio that is sent before the pause, ms.
    after_ms: int
    #: Length of the pause, ms.
    for_ms: int


@dataclass(frozen=True)
class Faults:
    """The faults that the emulator commits on purpose. Every fault is off by default."""

    #: A cancelled response sends deltas for this long before its response.done, ms.
    late_ms: int = 0
    #: A cancelled response sends deltas for this long after its response.done, ms.
    late_after_ms: int = 0
    #: A pause in the audio of every reply.
    stall: Stall | None = None
    #: Every reply has two items: a spoken remark (phase "commentary"), then the answer.
    commentary: bool = False
    #: The TCP connection is reset after the session has sent this much audio, ms.
    drop_after_ms: int | None = None
    #: Kinds out of GARBAGE, sent before the first audio of every reply.
    garbage: tuple[str, ...] = ()
    #: How many sessions there may be at once; 0: any number. A further client is let in, and told
    #: that there is no room (1008).
    slots: int = 0
    #: Every response fails with this error code, for example ``insufficient_quota``.
    fail: str | None = None
    #: Every transcription fails with this error code, for example ``audio_unintelligible``.
    fail_transcription: str | None = None

    def describe(self) -> list[str]:
        """Return a short description of each fault that is on."""
        faults = []
        if self.late_ms:
            faults.append(f"{self.late_ms} ms of deltas between a cancel and its response.done")
        if self.late_after_ms:
            faults.append(
                f"{self.late_after_ms} ms of deltas after a cancelled response's response.done"
            )
        if self.stall:
            faults.append(f"stall after {self.stall.after_ms} ms for {self.stall.for_ms} ms")
        if self.commentary:
            faults.append("two audio items in every reply")
        if self.drop_after_ms is not None:
            faults.append(f"connection reset after {self.drop_after_ms} ms of audio")
        if self.garbage:
            faults.append(f"garbage ({', '.join(self.garbage)})")
        if self.slots:
            faults.append(f"{self.slots} session{'s' * (self.slots > 1)} at once")
        if self.fail:
            faults.append(f"every response fails with {self.fail}")
        if self.fail_transcription:
            faults.append(f"every transcription fails with {self.fail_transcription}")
        return faults


@dataclass(frozen=True)
class Options:
    """All settings of the emulator."""

    #: The address to listen on. It must be a loopback address; port 0 selects a free port.
    url: str = DEFAULT_URL
    #: The keys that the emulator accepts. If there are none, it accepts any key and no key.
    keys: tuple[str, ...] = field(default=(), repr=False)
    #: The origins of web pages that may connect, for example ``http://localhost:3000``.
    origins: tuple[str, ...] = ()
    #: What the assistant says: ``speech``, ``tone:<seconds>`` or ``clip:<name>``.
    reply: str = "speech"
    #: The directory with index.json and the clips.
    voice: Path = VOICE
    #: How many times faster than real time audio is sent; 0 sends all of it at once.
    pace: float = 4.0
    #: The sizes of the audio deltas, in bytes, in order. After the last size, the last size is
    #: used again and again; with ``cycle_deltas``, the whole list is.
    delta_bytes: tuple[int, ...] = (4800, 12000)
    cycle_deltas: bool = False
    #: Time from response.created to the first delta, ms. The item is added half way.
    latency_ms: int = 0
    #: How much shorter the server takes a spoken item to be than the audio it sent, ms. The live
    #: service differed by 85 ms.
    skew_ms: int = 85
    #: With tools and tool_choice "auto", every Nth spoken turn is answered by a function call;
    #: 0 turns this off.
    call_every: int = 0
    #: How long the arguments of a function call take to stream, ms.
    call_ms: int = 200
    #: The length of a session, s. The service ends a session after an hour.
    expire_s: float = 3600.0
    #: The time between two pings, s, as observed on the live service.
    ping_s: float = 20.3
    #: The file to which the journal is appended, one JSON object per line.
    journal: Path | None = None
    log_level: str = "info"
    faults: Faults = Faults()
    #: The names of the twists that are on; see ``twists``.
    twists: tuple[str, ...] = ()
    #: The types of the events that are left out.
    omitted: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to listen on. Raises BadOption if ``url`` is not ws:// and loopback."""
        return loopback_address(self.url)

    @property
    def path(self) -> str:
        """The path of the URL."""
        return urlsplit(self.url).path or "/"


def loopback_address(url: str) -> tuple[str, int]:
    """Return the host and port of a ws:// URL. Raises BadOption if the host is not loopback."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
    except ValueError as error:
        raise BadOption(f"--url {url}: {error}") from None
    if parts.scheme != "ws":
        raise BadOption(
            f"--url {url}: the emulator speaks ws:// on loopback only: use a URL like {DEFAULT_URL}"
            f" (the URL comes from --url, or from {URL_VARIABLE} in the environment)"
        )
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise BadOption(
            f"--url {url}: {host or 'an empty host'} is not loopback, and the emulator listens on"
            f" loopback only: use 127.0.0.1, as in {DEFAULT_URL}"
        )
    return host, port
