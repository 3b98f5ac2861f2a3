"""Why a connection to the server ended, or could not be made. Pure.

After ``Lost`` another attempt may work, after ``Refused`` it would not. Each ending has a cause,
which link publishes in ``link.state``.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.messages import Cause

#: Close codes after which another attempt would not work: a refused key (3000), a refused model or
#: header (4000 and up), a policy (1008). Any other code may be temporary; with 1001 the server also
#: ends a session after 60 minutes.
REFUSED_FROM, POLICY = 3000, 1008
#: A part of the server's reason when a session's time is over.
EXPIRED = "maximum duration"
#: HTTP answers to the upgrade that are temporary, beside all of 500 and above: the server, or a
#: proxy, is too slow (408), not ready (425) or has too many requests (429).
TEMPORARY_HTTP = frozenset({408, 425, 429})
#: The longest Retry-After that is read, in digits: three years are enough.
RETRY_AFTER_DIGITS = 8

#: What a person can do about a refusal, by a part of the server's reason.
_ADVICE = (
    ("api_key", "check OPENAI_API_KEY (or link.key_file)"),
    ("model", "check link.model"),
    ("beta", "this server no longer speaks the beta protocol: check link.url"),
)
#: The cause by the name of the exception's class. The first class in the exception's order of base
#: classes counts. Names, because only two modules import websocket-client.
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
class Lost:
    """The connection ended, or could not be made. Another attempt may work."""

    cause: Cause
    why: str
    #: How long the server asked the client to wait before the next attempt, ms; 0: it did not ask.
    asked_ms: int = 0


@dataclass(frozen=True)
class Refused:
    """The server does not let this client in. Another attempt would not work."""

    why: str
    #: What a person can do about it.
    advice: str
    cause: Cause = "refused"


Ending = Lost | Refused

#: No data came for too long after a ping: the connection is half open.
SILENT = Lost("silent", "no answer to pings")
#: The socket takes no data any more.
STALLED = Lost("stalled", "could not send: the connection takes no more data")


def of_error(error: BaseException) -> Ending:
    """Return what an exception means that ended a connection, or an attempt to make one."""
    status = getattr(error, "status_code", None)
    if status is not None:
        why = f"HTTP {status} at the upgrade"
        if http_is_final(status):
            return Refused(why, advice("", status))
        return Lost("busy", why, _retry_after(getattr(error, "resp_headers", None)))
    text = str(error) or type(error).__name__
    names = [kind.__name__ for kind in type(error).__mro__]
    cause: Cause = next((_CAUSES[name] for name in names if name in _CAUSES), "unreachable")
    if "SSLCertVerificationError" in names:
        text = f"certificate not trusted: {getattr(error, 'verify_message', text)}"
        return Refused(text, "check link.url and the clock")
    if cause == "garbled" and "Redirect" in text:
        why = "a redirect: link does not send the key to another address"
        return Refused(why, "set link.url to the redirect's target")
    return Lost(cause, text)


def of_send_error(error: BaseException) -> Lost:
    """Return what an exception means that was raised while link sent data."""
    ending = of_error(error)
    cause: Cause = "stalled" if ending.cause in ("unreachable", "refused") else ending.cause
    return Lost(cause, f"could not send: {ending.why}")


def of_close(code: int, reason: str) -> Ending:
    """Return what a close frame from the server means."""
    why = f"closed by the server ({code}{' ' if reason else ''}{reason})"
    if close_is_final(code):
        return Refused(why, advice(reason))
    return Lost("expired" if EXPIRED in reason else "closed", why)


def close_is_final(code: int) -> bool:
    """Return whether another attempt would not work after this WebSocket close code."""
    return code == POLICY or code >= REFUSED_FROM


def http_is_final(status: int) -> bool:
    """Return whether another attempt would not work after this HTTP answer to the upgrade."""
    return status < 500 and status not in TEMPORARY_HTTP


def advice(reason: str, status: int = 0) -> str:
    """Return what a person can do about a refusal."""
    if status in (401, 403):
        return (
            "check OPENAI_API_KEY (or link.key_file), that it may use link.model, and link.auth"
            " (the header that carries the key)"
        )
    return next(
        (text for part, text in _ADVICE if part in reason),
        "check link.url, link.model and the key",
    )


def _retry_after(headers: object) -> int:
    """Return the seconds of an HTTP Retry-After header as ms; 0 for a date, or without a header."""
    given = headers.get("retry-after", "") if isinstance(headers, dict) else ""
    text = str(given).strip()
    short = text.isascii() and text.isdigit() and len(text) < RETRY_AFTER_DIGITS
    return int(text) * 1000 if short else 0
