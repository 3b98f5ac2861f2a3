"""Why a connection to the server ended, or could not be made. Pure.

After ``Lost`` another attempt may work. ``Refused`` means that the server, or something in its
place, does not let this client in. Whether a refusal is final depends on what has worked before:
see ``is_final``. Each ending has a cause, which link publishes in ``link.state``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.link.retry_after import retry_after_ms
from shared.messages import Cause
from shared.proxy import Proxy
from shared.realtime import endpoint
from shared.realtime.advice import AWAY, INSPECTED, PORTAL, advice
from shared.realtime.first_messages import passes, said_in

#: Close codes that refuse the client: a refused key (3000), a refused model or header (4000 and
#: up), a policy (1008). Any other code may be temporary; with 1001 the server also ends a session
#: after 60 minutes.
REFUSED_FROM, POLICY = 3000, 1008
#: A close code for a timeout, as registered with IANA: it may be temporary.
TIMEOUT = 3008
#: Many servers add 4000 to a status of HTTP: 4429 is too many requests.
HTTP_FROM = 4000
#: Stands for the code of a close frame that has none (RFC 6455).
NO_CODE = 1005
#: A part of the server's reason when a session's time is over.
EXPIRED = "maximum duration"
#: HTTP answers that are temporary, beside all of 500 and above: the server, or a proxy, is too slow
#: (408), not ready (425) or has too many requests (429).
TEMPORARY_HTTP = frozenset({408, 425, 429})
#: HTTP answers that refuse the client until something else has ended: the account has no money left
#: (402), another session exists (409), or the resource is locked (423).
PASSING_HTTP = frozenset({402, 409, 423})
#: OpenSSL's codes for a certificate that is not valid yet, and for one that is not valid any more.
TOO_EARLY, TOO_LATE = 9, 10
#: OpenSSL's codes for a certificate of an authority that this machine does not know: self-signed,
#: or signed by one that is, or incomplete.
UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
#: OpenSSL's reasons if what answers does not speak TLS.
NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"}
)
#: The first byte of a record of TLS: an alert, or a part of the handshake.
TLS_RECORDS = (b"\x15", b"\x16")
#: How much of a server's words is shown, characters.
LONGEST_WORDS = 200
#: A reply code of SOCKS 5 (RFC 1928): the proxy's rules forbid the connection.
NOT_ALLOWED = 2

#: The advice after a refusal that passes, unless its words tell more.
_WAIT = "the server takes no more sessions now: wait, or end another session"
#: The cause by the name of the exception's class. The first class in the exception's order of base
#: classes counts. Names, because this module is pure and imports no websocket-client.
_CAUSES: dict[str, Cause] = {
    "WebSocketAddressException": "unresolved",
    "gaierror": "unresolved",
    "WebSocketConnectionClosedException": "reset",
    "ConnectionResetError": "reset",
    "ConnectionAbortedError": "reset",
    "BrokenPipeError": "reset",
    "Flood": "hostile",
    "WebSocketTimeoutException": "unreachable",
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
    """The server, or something in its place, does not let this client in."""

    why: str
    #: The advice for a person.
    advice: str
    cause: Cause = "refused"
    #: Whether the refusal ends by itself: a slot, a quota, a clock. Another attempt may work then,
    #: even if none has worked before.
    passes: bool = False


Ending = Lost | Refused

#: No data came for too long after a ping: the connection is half open.
SILENT = Lost("silent", "no answer to pings")
#: The socket takes no data any more.
STALLED = Lost("stalled", "could not send: the connection takes no more data")
#: The server accepted the upgrade, and then began no session.
NO_SESSION = Lost("silent", "connected, but the server began no session")


def is_final(ending: Ending, *, worked: bool) -> bool:
    """Return whether another attempt would be of no use.

    ``worked``: whether this server has accepted this key before. If it has, the address and the key
    are right, so the fault is somebody else's and may pass: a captive portal, a proxy, a server.
    """
    return isinstance(ending, Refused) and not (worked or ending.passes)


def reason(ending: Ending) -> str:
    """Return an ending in words, with what a person can do about it."""
    if isinstance(ending, Refused):
        return f"{ending.why}: {ending.advice}"
    return f"{ending.why}: {AWAY}" if ending.cause in ("unreachable", "unresolved") else ending.why


def of_error(error: BaseException) -> Ending:
    """Return the ending for an exception that ended a connection, or an attempt to make one."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    names = [kind.__name__ for kind in type(error).__mro__]
    cause: Cause = next((_CAUSES[name] for name in names if name in _CAUSES), "unreachable")
    if "SSLCertVerificationError" in names:
        return of_certificate(
            getattr(error, "verify_message", text), getattr(error, "verify_code", 0)
        )
    if "SSLError" in names:
        return _of_tls(text, getattr(error, "reason", None), eof="SSLEOFError" in names)
    if "WebSocketProtocolException" in names:
        if text.startswith("rsv is not"):
            text = "it compresses messages, and link did not ask for that"
        text = f"the server breaks the rules of WebSocket: {_of_close_frame(text)}"
    elif cause == "garbled":
        text = f"the answer to the upgrade is not that of a WebSocket: {text}"
    return Lost(cause, text)


def _of_close_frame(text: str) -> str:
    """Return websocket-client's text, or plain words if a close frame broke the rule.

    No server may send the codes 1005, 1006 and 1015: they stand for a close without a code, a lost
    connection and failed TLS.
    """
    if found := re.fullmatch(r"Invalid close opcode (\d+)", text):
        return f"it closed the connection with the code {found[1]}, which no server may send"
    if text == "Invalid close frame.":
        return "it closed the connection with a close frame that cannot be read"
    return text


def _of_tls(text: str, reason: str | None, *, eof: bool) -> Lost:
    """Return the ending for TLS that could not be agreed on, or that broke off."""
    if eof:
        return Lost("reset", "the server, or a proxy or firewall before it, hung up during TLS")
    if reason in NO_TLS:
        return Lost("garbled", f"what answers there does not speak TLS: check link.url; {PORTAL}")
    # OpenSSL's text has the reason in front, and a line of Python's source at its end.
    words = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", text)
    return Lost("unreachable", f"no TLS with the server: {words}")


def hung_up(said: bytes) -> Lost:
    """Return the ending for a server that hung up within the head of its answer, ``said``."""
    if said.startswith(TLS_RECORDS):
        return Lost("garbled", "the server speaks TLS there: write wss:// in link.url")
    if said and not said.upper().startswith(b"HTTP/"):
        return no_http(said)
    return Lost("reset", "the server hung up without an answer to the upgrade")


def no_http(said: bytes) -> Lost:
    """Return the ending for an answer to the upgrade that is not HTTP."""
    first = said.partition(b"\n")[0].strip().decode("latin-1")
    return Lost("garbled", f"no HTTP answer to the upgrade, but {first[:80]!r}")


def of_status(status: int, headers: Mapping[str, str] | None = None, text: bytes = b"") -> Ending:
    """Return the ending for an HTTP answer that is not the upgrade.

    ``headers``: by their names in lower case. ``text``: the beginning of the answer's body.
    """
    headers = headers or {}
    why = f"HTTP {status} at the upgrade"
    if 300 <= status < 400:
        location = headers.get("location", "")
        # The target's query may hold a secret, or a portal's whole request.
        target = f" to {_where(location)}" if location else ""
        why = f"{why}: a redirect{target}, where link does not send the key"
        return Refused(why, f"set link.url to the redirect's target, or {PORTAL}")
    # A portal's page is no JSON: its words are not the server's.
    said = said_in(text) if "json" in headers.get("content-type", "") else ""
    if said:
        why = f"{why}: {said[:LONGEST_WORDS]}"
    if not http_is_final(status):
        why += ": the network wants a login" if status == 511 else ""
        return Lost("busy", why, retry_after_ms(headers))
    if passes(said) or status in PASSING_HTTP:
        named = f"{said} quota" if status == 402 else said
        return Refused(why, advice(named, default=_WAIT), "busy", passes=True)
    return Refused(why, advice(said, status))


def of_certificate(message: str, code: int) -> Refused:
    """Return the ending for a server's certificate that OpenSSL does not trust."""
    why = f"certificate not trusted: {message.rstrip('.')}"
    if code in (TOO_EARLY, TOO_LATE):
        return Refused(why, "check the date of this machine's clock", passes=True)
    inspected = f"; {INSPECTED}" if code in UNKNOWN_AUTHORITY else ""
    return Refused(why, f"check link.url and the clock; {PORTAL}{inspected}")


def of_connect(proxy: Proxy, target: str, status: int, schemes: Sequence[str]) -> Ending:
    """Return the ending for a proxy's answer to CONNECT that is not 2xx.

    ``schemes``: the ways to log in that the proxy offers with 407.
    """
    if status == 407:
        return Refused(*_login(proxy, schemes))
    why = f"the proxy {proxy} ({proxy.source}) does not connect to {target}: HTTP {status}"
    if status >= 500 or status in TEMPORARY_HTTP:
        return Lost("busy", why)
    return Refused(why, f"allow {target} in the proxy, or name another proxy in link.proxy")


def _login(proxy: Proxy, schemes: Sequence[str]) -> tuple[str, str]:
    """Return why a proxy does not let us in without a login, and what to do."""
    why = f"the proxy {proxy} ({proxy.source}) wants a user and a password (HTTP 407)"
    if schemes and "basic" not in [scheme.lower() for scheme in schemes]:
        return (
            f"{why} by {' or '.join(schemes)}, and Bargein only knows Basic",
            "run a local proxy that logs in there (cntlm, px), and name it in link.proxy",
        )
    if proxy.user:
        why = f"the proxy {proxy} does not accept the user and the password of {proxy.source}"
        why += " (HTTP 407)"
    return why, f'set link.proxy = "{proxy.scheme}://USER:PASSWORD@{str(proxy).split("://")[1]}"'


def of_socks(proxy: Proxy, target: str, text: str, code: int | None) -> Ending:
    """Return the ending for a SOCKS proxy that refuses. ``code``: its reply code, if any."""
    why = f"the proxy {proxy} ({proxy.source}) does not connect to {target}: {text}"
    if "authentication" in text.lower():
        _, todo = _login(proxy, ())
        return Refused(why, todo)
    if code == NOT_ALLOWED:
        return Refused(why, f"allow {target} in the proxy, or name another proxy in link.proxy")
    return Lost("unreachable", why)


def of_send_error(error: BaseException) -> Lost:
    """Return the ending for an exception that was raised while link sent data."""
    ending = of_error(error)
    cause: Cause = "stalled" if ending.cause in ("unreachable", "refused") else ending.cause
    return Lost(cause, f"could not send: {ending.why}")


def of_close(code: int, reason: str, error: str = "") -> Ending:
    """Return the ending for a close frame from the server.

    ``error``: the words of the server's last error event, if it began no session.
    """
    given = "no code" if code == NO_CODE else f"{code}{' ' if reason else ''}{reason}"
    why = f"closed by the server ({given})"
    if error:
        why = f"{why}: {error}"
    said = f"{reason} {error}"
    if not close_is_final(code):
        return Lost("expired" if EXPIRED in reason else "closed", why)
    if passes(said) or code - HTTP_FROM in PASSING_HTTP:
        return Refused(why, advice(said, default=_WAIT), "busy", passes=True)
    return Refused(why, advice(said))


def close_is_final(code: int) -> bool:
    """Return whether a WebSocket close code refuses the client."""
    if 400 <= code - HTTP_FROM < 600:
        return http_is_final(code - HTTP_FROM)
    return code == POLICY or (code >= REFUSED_FROM and code != TIMEOUT)


def http_is_final(status: int) -> bool:
    """Return whether an HTTP answer to the upgrade refuses the client."""
    return status < 500 and status not in TEMPORARY_HTTP


def _where(location: str) -> str:
    """Return the target of a redirect without the parts that may hold a secret."""
    try:
        parts = urlsplit(location)
        # A relative target is another path of the same server.
        return (
            endpoint.where(location) if parts.hostname else parts.path[:LONGEST_WORDS] or "itself"
        )
    except ValueError:
        return "an invalid address"
