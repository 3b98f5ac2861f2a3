"""What the end of a connection, or a failed attempt to connect, means."""

from __future__ import annotations

import json
import socket
import ssl

import pytest
import websocket

from services.link import endings
from shared import messages, now
from shared.proxy import Proxy, parse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("code", [1008, 3000, 3001, 3003, 4000, 4004, 4401, 4403, 4999])
def test_closes_that_are_final(code: int) -> None:
    assert endings.close_is_final(code)


@pytest.mark.parametrize(
    "code",
    [1000, 1001, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 1014, 1015, 3008, 4408, 4429, 4503],
)
def test_closes_that_may_pass(code: int) -> None:
    assert not endings.close_is_final(code)


@pytest.mark.parametrize("status", [200, 301, 302, 400, 401, 403, 404, 410, 426])
def test_http_answers_that_are_final(status: int) -> None:
    assert endings.http_is_final(status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_http_answers_that_may_pass(status: int) -> None:
    assert not endings.http_is_final(status)


# the cause of an ending


def told(code: str) -> bytes:
    """Return a server's answer in JSON."""
    return json.dumps({"error": {"code": code, "message": "Sorry."}}).encode()


JSON = {"content-type": "application/json; charset=utf-8"}

CERTIFICATE = ssl.SSLCertVerificationError("no")
CERTIFICATE.verify_message = "self-signed certificate"
CERTIFICATE.verify_code = 18

ENDINGS: list[tuple[Exception, messages.Cause, str]] = [
    (websocket.WebSocketAddressException("Name or service not known"), "unresolved", "Name"),
    (socket.gaierror(-2, "Name or service not known"), "unresolved", "Name"),
    (ConnectionResetError(104, "Connection reset by peer"), "reset", "reset by peer"),
    (websocket.WebSocketConnectionClosedException("lost"), "reset", "lost"),
    (BrokenPipeError(32, "Broken pipe"), "reset", "Broken pipe"),
    (ConnectionRefusedError(111, "Connection refused"), "unreachable", "Connection refused"),
    (OSError(101, "Network is unreachable"), "unreachable", "Network"),
    (websocket.WebSocketTimeoutException("timed out"), "unreachable", "timed out"),
    (TimeoutError(), "unreachable", "TimeoutError"),
    (websocket.WebSocketException("Invalid status line: 'SSH-2.0'"), "garbled", "SSH"),
    (websocket.WebSocketProtocolException("rsv is not implemented"), "garbled", "it compresses"),
    (websocket.WebSocketProtocolException("Invalid opcode 3"), "garbled", "opcode 3"),
    (ssl.SSLError(1, "[SSL] alert handshake failure (_ssl.c:1006)"), "unreachable", "no TLS with"),
    (ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF] EOF occurred"), "reset", "hung up during TLS"),
    (ValueError("what?"), "unreachable", "what?"),
]


@pytest.mark.parametrize(("error", "cause", "why"), ENDINGS, ids=lambda each: str(each)[:30])
def test_an_ending_that_may_pass_has_a_name(
    error: Exception, cause: messages.Cause, why: str
) -> None:
    ending = endings.of_error(error)
    assert ending.cause == cause
    assert why in ending.why
    assert isinstance(ending, endings.Lost)


@pytest.mark.parametrize(
    ("ending", "why", "what"),
    [
        (endings.of_status(401), "HTTP 401", "OPENAI_API_KEY"),
        (endings.of_status(404), "HTTP 404", "link.url"),
        (endings.of_status(407), "HTTP 407", "link.proxy"),
        (
            endings.of_error(CERTIFICATE),
            "certificate not trusted: self-signed certificate",
            "SSL_CERT_FILE",
        ),
        (
            endings.of_status(302, {"location": "http://portal.test/?k=v"}),
            "redirect to http://portal.test,",
            "target",
        ),
        (
            endings.of_status(308, {"location": "/v1/realtime/?k=v"}),
            "redirect to /v1/realtime/,",
            "target",
        ),
        (
            endings.of_status(400, JSON, told("bad_voice")),
            "HTTP 400 at the upgrade: bad_voice: Sorry.",
            "link.url",
        ),
    ],
)
def test_an_ending_that_is_final_says_what_to_do(
    ending: endings.Ending, why: str, what: str
) -> None:
    assert isinstance(ending, endings.Refused)
    assert ending.cause == "refused"
    assert why in ending.why
    assert what in ending.advice
    assert "k=v" not in endings.reason(ending)


def test_tls_that_is_none_says_what_to_do() -> None:
    """OpenSSL's own reason is kept, and its name and the line of Python's source are not."""
    plain = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    plain.reason = "WRONG_VERSION_NUMBER"
    assert endings.of_error(plain).cause == "garbled"
    assert "does not speak TLS: check link.url; if this network" in endings.of_error(plain).why
    refused = ssl.SSLError(1, "[SSL: X] sslv3 alert handshake failure (_ssl.c:1006)")
    refused.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert endings.of_error(refused).why == "no TLS with the server: sslv3 alert handshake failure"


@pytest.mark.parametrize(
    ("said", "cause", "why"),
    [
        (b"", "reset", "hung up without an answer"),
        (b"HTTP/1.1 101 Switching", "reset", "hung up without an answer"),
        (b"SSH-2.0-OpenSSH_9\r\n", "garbled", "no HTTP answer to the upgrade, but 'SSH-2.0-Open"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "garbled", "wss://"),
    ],
)
def test_an_answer_that_ends_too_soon_says_what_it_was(
    said: bytes, cause: messages.Cause, why: str
) -> None:
    ending = endings.hung_up(said)
    assert ending.cause == cause
    assert why in ending.why


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (1000, "", "closed"),
        (1001, "Your session hit the maximum duration of 60 minutes.", "expired"),
        (1001, "going away", "closed"),
        (1011, "oops", "closed"),
        (4000, "invalid_request_error.invalid_model", "refused"),
    ],
)
def test_a_close_has_a_name(code: int, reason: str, cause: messages.Cause) -> None:
    ending = endings.of_close(code, reason)
    assert ending.cause == cause
    assert f"({code}{' ' if reason else ''}{reason})" in ending.why
    assert isinstance(ending, endings.Refused) == (cause == "refused")


def test_a_close_without_a_code_is_not_shown_as_one() -> None:
    ending = endings.of_close(endings.NO_CODE, "")
    assert ending == endings.Lost("closed", "closed by the server (no code)")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\x03\xed", "with the code 1005, which no server may send"),
        (b"\x03\xee", "with the code 1006, which no server may send"),
        (b"\x03\xf7", "with the code 1015, which no server may send"),
        (b"\x00\x00", "with the code 0, which no server may send"),
        (b"\x03", "with a close frame that cannot be read"),
        (b"\x03\xe8\xff\xfe", "with a close frame that cannot be read"),
    ],
)
def test_a_close_frame_that_breaks_the_rules_is_shown_in_plain_words(
    payload: bytes, why: str
) -> None:
    frame = websocket.ABNF(1, 0, 0, 0, websocket.ABNF.OPCODE_CLOSE, 0, payload)
    with pytest.raises(websocket.WebSocketProtocolException) as raised:
        frame.validate()
    ending = endings.of_error(raised.value)
    rule = "the server breaks the rules of WebSocket: it closed the connection"
    assert ending == endings.Lost("garbled", f"{rule} {why}")


def test_a_connection_that_takes_nothing_any_more_has_stalled() -> None:
    assert (
        endings.of_send_error(websocket.WebSocketTimeoutException("timed out")).cause == "stalled"
    )
    assert endings.of_send_error(BrokenPipeError(32, "Broken pipe")).cause == "reset"
    assert endings.of_send_error(TimeoutError()).why == "could not send: TimeoutError"


@pytest.mark.parametrize(
    "until",
    [
        "Wed, 21 Oct 2026 07:28:20 GMT",
        "Wednesday, 21-Oct-26 07:28:20 GMT",  # the obsolete forms, which RFC 9110 still allows
        "Wed Oct 21 07:28:20 2026",
    ],
)
def test_a_retry_after_can_be_a_date(until: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"retry-after": until, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    ending = endings.of_status(503, headers)
    assert isinstance(ending, endings.Lost)
    assert ending.asked_ms == 20_000
    # A server without a clock: by this machine's.
    monkeypatch.setattr(now, "time_ns", lambda: 1_792_567_690 * 10**9)
    ending = endings.of_status(503, {"retry-after": until})
    assert isinstance(ending, endings.Lost)
    assert ending.asked_ms == 10_000


def test_a_retry_after_that_is_no_time_to_come_is_ignored() -> None:
    past = "Wed, 21 Oct 2020 07:28:00 GMT"
    odd = ("Wed, 99 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "soon")
    for said in (past, *odd, "-5", "", "9" * 5000, "٣"):
        ending = endings.of_status(503, {"retry-after": said})
        assert isinstance(ending, endings.Lost)
        assert ending.asked_ms == 0
    ending = endings.of_status(503, {"retry-after": "7"})
    assert ending == endings.Lost("busy", "HTTP 503 at the upgrade", 7000)


# which refusals are final

PORTAL = [
    endings.of_certificate("self-signed certificate", 18),
    *(endings.of_status(status) for status in (200, 302, 400, 401, 403, 404)),
    endings.of_close(1008, ""),
    endings.of_close(4000, "invalid_request_error.invalid_model"),
    endings.of_close(3000, "invalid_request_error.invalid_api_key"),
]


@pytest.mark.parametrize("ending", PORTAL, ids=lambda ending: str(ending.why)[:30])
def test_a_refusal_is_final_only_if_nothing_worked_before(ending: endings.Ending) -> None:
    assert endings.is_final(ending, worked=False)
    assert not endings.is_final(ending, worked=True)


PASSING = [
    endings.of_certificate("certificate is not yet valid", endings.TOO_EARLY),
    endings.of_certificate("certificate has expired", endings.TOO_LATE),
    endings.of_close(1008, "", "session_limit_reached: One session only."),
    endings.of_close(1008, "no free slot"),
    endings.of_close(4000, "invalid_request_error.insufficient_quota"),
    endings.of_status(403, JSON, told("insufficient_quota")),
    endings.of_status(511),
    endings.of_status(429),
    endings.of_status(502),
    endings.of_status(402),
    endings.of_status(409),
    endings.of_status(423),
    endings.of_close(4409, ""),
    endings.of_close(1008, "Another session is active"),
    endings.of_close(1013, ""),
    endings.SILENT,
    endings.NO_SESSION,
]


@pytest.mark.parametrize("ending", PASSING, ids=lambda ending: str(ending.why)[:30])
def test_a_fault_that_passes_by_itself_is_never_final(ending: endings.Ending) -> None:
    assert not endings.is_final(ending, worked=False)
    assert not endings.is_final(ending, worked=True)


def test_a_reason_says_what_happened_and_what_to_do() -> None:
    early = endings.of_certificate("certificate is not yet valid", 9)
    assert endings.reason(early) == (
        "certificate not trusted: certificate is not yet valid:"
        " check the date of this machine's clock"
    )
    full = endings.reason(endings.of_close(1008, "", "session_limit_reached: One only."))
    assert "closed by the server (1008): session_limit_reached: One only.: the server" in full
    assert "takes no more sessions now" in full
    for status in (200, 302, 403, 404):
        assert "if this network wants a login" in endings.reason(endings.of_status(status))
    assert "billing" in endings.reason(endings.of_close(4000, "x.insufficient_quota"))
    assert endings.reason(endings.SILENT) == "no answer to pings"
    away = endings.reason(endings.of_error(ConnectionRefusedError(111, "Connection refused")))
    assert away == "Connection refused: check the network, link.url and, if there is one, the proxy"


def test_a_page_of_a_portal_is_no_answer_of_the_server() -> None:
    page = endings.of_status(403, {"content-type": "text/html"}, b"Your time limit is over")
    assert endings.is_final(page, worked=False)
    assert "limit" not in page.why


# proxies

PROXY = parse("http://proxy:3128", "https_proxy")
LOGIN = parse("http://me:secret@proxy:3128", "https_proxy")
TARGET = "api.openai.com:443"


def connect(proxy: Proxy, status: int, *schemes: str) -> endings.Ending:
    return endings.of_connect(proxy, TARGET, status, schemes)


def test_a_proxy_that_wants_a_login_says_what_to_do() -> None:
    ending = connect(PROXY, 407, "Basic")
    assert endings.is_final(ending, worked=False)
    assert endings.reason(ending) == (
        "the proxy http://proxy:3128 (https_proxy) wants a user and a password (HTTP 407):"
        ' set link.proxy = "http://USER:PASSWORD@proxy:3128"'
    )
    assert "does not accept the user and the password" in endings.reason(connect(LOGIN, 407))
    assert "secret" not in endings.reason(connect(LOGIN, 407))
    for schemes in (("Negotiate", "NTLM"), ("Negotiate",)):
        assert "cntlm" in endings.reason(connect(LOGIN, 407, *schemes))
    assert "cntlm" not in endings.reason(connect(PROXY, 407, "Negotiate", "basic"))


def test_a_proxy_that_does_not_connect() -> None:
    refused = connect(PROXY, 403)
    assert endings.is_final(refused, worked=False)
    assert "does not connect to api.openai.com:443: HTTP 403: allow" in endings.reason(refused)
    for status in (500, 502, 503, 504, 408, 429):
        assert connect(PROXY, status).cause == "busy"
        assert isinstance(connect(PROXY, status), endings.Lost)


def test_a_socks_proxy_that_does_not_connect() -> None:
    socks = parse("socks5://proxy")
    login = endings.of_socks(socks, TARGET, "Username and password authentication failure", None)
    assert endings.is_final(login, worked=False)
    assert 'link.proxy = "socks5://USER:PASSWORD@proxy:1080"' in endings.reason(login)
    rules = endings.of_socks(socks, TARGET, "Connection not allowed by ruleset", 2)
    assert endings.is_final(rules, worked=False)
    down = endings.of_socks(socks, TARGET, "Host unreachable", 4)
    assert down == endings.Lost(
        "unreachable",
        "the proxy socks5://proxy:1080 (link.proxy) does not connect to api.openai.com:443:"
        " Host unreachable",
    )
