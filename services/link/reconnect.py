"""Why a connection ended or did not come about, and when to try again. Pure.

Each ending has a name, ``Cause``, which is told on the bus (``LinkState.cause``). Whether to try
again and after how long depends on the name, and on how long the connection had been good.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from shared.messages import Cause

#: Close codes that another try cannot mend: a refused key (3000), a refused model or header (4000
#: and up), a policy (1008). All others may pass (1001 is also how a session's 60 minutes end).
REFUSED_FROM, POLICY = 3000, 1008
#: What the server says when a session's time is over.
EXPIRED = "maximum duration"
#: HTTP answers to the upgrade that may pass: too many requests, and the server's or a proxy's
#: trouble.
TRANSIENT_HTTP = frozenset({408, 425, 429})

#: A connection that lasted this long was a good one: the next delay starts small again.
GOOD_AFTER_S = 5.0
#: The first try after a good connection is made at once, but for this much of chance, which keeps
#: many clients of one server from coming back in step.
AT_ONCE_MS = 100
#: Endings after which the server is likely to be there still.
AT_ONCE = frozenset[Cause]({"expired", "closed", "reset", "silent", "stalled"})

#: What to do, by what a refusal's reason contains.
_ADVICE = (
    ("api_key", "check OPENAI_API_KEY (or link.key_file)"),
    ("model", "check link.model"),
    ("beta", "this server no longer speaks the beta protocol: check link.url"),
)
#: The cause by the exception's class, the nearest first: websocket-client's are known by name, as
#: only link imports it.
_CAUSES: dict[str, Cause] = {
    "WebSocketAddressException": "unresolved",
    "gaierror": "unresolved",
    "WebSocketConnectionClosedException": "reset",
    "ConnectionResetError": "reset",
    "ConnectionAbortedError": "reset",
    "BrokenPipeError": "reset",
    "WebSocketTimeoutException": "unreachable",
    "WebSocketProxyException": "unreachable",
    "WebSocketException": "garbled",
    "OSError": "unreachable",
}


@dataclass(frozen=True)
class Ending:
    """What became of a connection, or of a try for one."""

    cause: Cause
    why: str
    advice: str = ""  # what a person can do; "": another try may help
    asked_ms: int = 0  # how long the server asked us to wait

    @property
    def final(self) -> bool:
        """Whether trying again is of no use."""
        return bool(self.advice)


#: Nothing came for too long after a ping: the connection is half-open.
SILENT = Ending("silent", "no answer to pings")


def failed(error: BaseException) -> Ending:
    """Say what an exception of a connection, or of a try for one, means."""
    status = getattr(error, "status_code", None)
    if status is not None:
        why = f"HTTP {status} at the upgrade"
        if http_is_final(status):
            return Ending("refused", why, advice("", status))
        return Ending("busy", why, asked_ms=_retry_after(getattr(error, "resp_headers", None)))
    text = str(error) or type(error).__name__
    names = [kind.__name__ for kind in type(error).__mro__]
    cause: Cause = next((_CAUSES[name] for name in names if name in _CAUSES), "unreachable")
    if "SSLCertVerificationError" in names:
        text = f"certificate not trusted: {getattr(error, 'verify_message', text)}"
        return Ending("refused", text, "check link.url and the clock")
    if cause == "garbled" and "Redirect" in text:
        why = "a redirect, which the key does not follow"
        return Ending("refused", why, "set link.url to its target")
    return Ending(cause, text)


def stalled(error: BaseException) -> Ending:
    """Say what an exception in sending means: a connection that takes nothing is no good."""
    ending = failed(error)
    cause: Cause = "stalled" if ending.cause == "unreachable" else ending.cause
    return Ending(cause, f"could not send: {ending.why}")


def closed(code: int, reason: str) -> Ending:
    """Say what a close by the server means."""
    why = f"closed by the server ({code}{' ' if reason else ''}{reason})"
    if close_is_final(code):
        return Ending("refused", why, advice(reason))
    return Ending("expired" if EXPIRED in reason else "closed", why)


def close_is_final(code: int) -> bool:
    """Say whether a WebSocket close code means that trying again is of no use."""
    return code == POLICY or code >= REFUSED_FROM


def http_is_final(status: int) -> bool:
    """Say whether an HTTP answer to the upgrade means that trying again is of no use."""
    return status < 500 and status not in TRANSIENT_HTTP


def advice(reason: str, status: int = 0) -> str:
    """Say what a person can do about a refusal."""
    if status in (401, 403):
        return "check OPENAI_API_KEY (or link.key_file), and that it may use link.model"
    return next(
        (text for part, text in _ADVICE if part in reason),
        "check link.url, link.model and the key",
    )


def _retry_after(headers: object) -> int:
    """Give the seconds of an HTTP Retry-After as ms; 0 for a date, or none."""
    given = headers.get("retry-after", "") if isinstance(headers, dict) else ""
    text = str(given).strip()
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 8 else 0


@dataclass
class Backoff:
    """Delays that double from ``first_ms`` to ``max_ms``, each shortened by chance by up to half.

    The chance keeps many clients of one server from coming back in step.
    """

    first_ms: int
    max_ms: int
    chance: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def after(self, ending: Ending, lasted_s: float) -> int:
        """Give how long to wait after an ending, ms; ``lasted_s``: how long there was a connection.

        At once, where a good connection ended; else what the doubling gives, or longer where the
        server asked for it, but never longer than ``max_ms``.
        """
        if lasted_s > GOOD_AFTER_S:
            self.worked()
            if ending.cause in AT_ONCE:
                return int(min(AT_ONCE_MS, self.max_ms) * self.chance.random())
        return max(self.next_ms(), min(ending.asked_ms, self.max_ms))

    def next_ms(self) -> int:
        """Give how long to wait before the next try, ms."""
        full = min(self.max_ms, self.first_ms << min(self._tries, 30))
        self._tries += 1
        return int(full * (0.5 + self.chance.random() / 2))

    def worked(self) -> None:
        """Begin anew with the first delay."""
        self._tries = 0
