"""Which proxy a connection goes through."""

from __future__ import annotations

import pytest

from shared import config, proxy
from shared.proxy import Proxy, ProxyProblem, choose, is_exempt, is_local, parse

pytestmark = pytest.mark.unit

WSS, WS = "wss://api.openai.com/v1/realtime", "ws://some.host:8080/v1/realtime"
A, B = "http://a:1", "http://b:2"


def source(url: str, setting: str = "", **environment: str) -> str:
    """Return where the proxy of a URL comes from; "" if there is none."""
    found = choose(url, setting, environment)
    return found.source if found else ""


# which variable counts, as curl has it


@pytest.mark.parametrize(
    ("environment", "secure", "plain"),
    [
        ({}, "", ""),
        ({"https_proxy": A}, "https_proxy", ""),
        ({"HTTPS_PROXY": A}, "HTTPS_PROXY", ""),
        ({"https_proxy": A, "HTTPS_PROXY": B}, "https_proxy", ""),
        ({"https_proxy": "", "HTTPS_PROXY": B}, "HTTPS_PROXY", ""),
        ({"http_proxy": A}, "", "http_proxy"),
        # CGI programs have a header of the request in this one.
        ({"HTTP_PROXY": A}, "", ""),
        ({"all_proxy": A}, "all_proxy", "all_proxy"),
        ({"ALL_PROXY": A}, "ALL_PROXY", "ALL_PROXY"),
        ({"all_proxy": A, "ALL_PROXY": B}, "all_proxy", "all_proxy"),
        ({"http_proxy": "", "all_proxy": A}, "all_proxy", "all_proxy"),
        ({"ALL_PROXY": A, "https_proxy": B, "http_proxy": B}, "https_proxy", "http_proxy"),
        ({"wss_proxy": A, "https_proxy": B}, "wss_proxy", ""),
        ({"WS_PROXY": A, "http_proxy": B}, "", "WS_PROXY"),
        ({"https_proxy": A, "no_proxy": "*"}, "", ""),
        ({"all_proxy": A, "NO_PROXY": "openai.com"}, "", "all_proxy"),
        ({"all_proxy": A, "no_proxy": "other", "NO_PROXY": "openai.com"}, "all_proxy", "all_proxy"),
        ({"all_proxy": A, "no_proxy": "", "NO_PROXY": "some.host:8080"}, "all_proxy", ""),
    ],
)
def test_the_variable_that_counts(environment: dict[str, str], secure: str, plain: str) -> None:
    assert (source(WSS, **environment), source(WS, **environment)) == (secure, plain)


def test_the_setting_wins_over_the_environment() -> None:
    for none in ("none", "None", " none "):
        assert source(WSS, none, https_proxy=A) == ""
    found = choose(WSS, B, {"https_proxy": A, "no_proxy": "*"})
    assert found == Proxy("http", "b", 2, source="link.proxy")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]",
     "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "0", "2130706433", "0x7f000001",
     "0177.0.0.1",
     "localhost.localdomain", "ip6-localhost", "localhost6"],
)  # fmt: skip
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    variables = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), A)
    for url in (f"ws://{host}:8790/v1/realtime", f"wss://{host}/"):
        assert choose(url, "", variables) is None
        assert choose(url, A, variables) is None


@pytest.mark.parametrize(
    "host",
    [
        "local",
        "notlocalhost",
        "localhost.com",
        "10.0.0.1",
        "::2",
        "",
        "10.1",
        "1270.1",
        "127.1.de",
        "face",
    ],
)
def test_another_machine_is_another_machine(host: str) -> None:
    assert not is_local(host)


# NO_PROXY. Each line was compared with curl 7.88, apart from those that say otherwise.


@pytest.mark.parametrize(
    ("exempt", "host", "expected"),
    [
        ("", "foo.example.com", False),
        ("*", "foo.example.com", True),
        (" * ", "10.0.0.1", True),
        ("x,*", "foo.example.com", False),
        ("example.com", "foo.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "example.com.", True),
        (".example.com", "foo.example.com", True),
        (".example.com", "example.com", True),
        ("EXAMPLE.com", "foo.example.COM", True),
        ("example.com.", "foo.example.com", True),
        ("xample.com", "foo.example.com", False),
        ("foo.example.com", "example.com", False),
        ("..example.com", "foo.example.com", False),
        ("a, b , example.com ", "foo.example.com", True),
        ("a b example.com", "foo.example.com", True),
        ("a,,\texample.com", "foo.example.com", True),
        (".", "foo.example.com", False),
        # curl knows no such wildcard; people write it, and other programs take it.
        ("*.example.com", "foo.example.com", True),
        # curl knows no ports
        ("foo.example.com:443", "foo.example.com", True),
        ("example.com:443", "foo.example.com", True),
        ("example.com:80", "foo.example.com", False),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", False),
        ("10.1.2.3:443", "10.1.2.3", True),
        # addresses
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.9.9.9/8", "10.1.2.3", True),
        ("10.1.2.0/25", "10.1.2.200", False),
        ("10.0.0.0/0", "10.1.2.3", False),
        ("10.1.2.3/33", "10.1.2.3", False),
        ("10.1.2.3/", "10.1.2.3", True),
        ("10.0.0.0/x", "10.1.2.3", False),
        (".10.1.2.3", "10.1.2.3", False),
        ("*.2.3", "10.1.2.3", False),
        ("3", "10.1.2.3", False),
        ("10.0.0.0/8", "foo.example.com", False),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("[2001:db8::1]", "2001:DB8::1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.1.2.3", False),
        ("10.0.0.0/8", "2001:db8::1", False),
    ],
)
def test_no_proxy(exempt: str, host: str, *, expected: bool) -> None:
    assert is_exempt(host, 443, exempt) is expected


# the address of a proxy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy", Proxy("http", "proxy", 1080)),
        ("proxy:3128", Proxy("http", "proxy", 3128)),
        (" proxy:3128 ", Proxy("http", "proxy", 3128)),
        ("http://proxy:3128/", Proxy("http", "proxy", 3128)),
        ("HTTP://Proxy.:3128", Proxy("http", "proxy", 3128)),
        ("https://proxy", Proxy("https", "proxy", 443)),
        ("socks5://proxy", Proxy("socks5", "proxy", 1080)),
        ("socks5h://[::1]:9050", Proxy("socks5h", "::1", 9050)),
        ("socks://127.0.0.1:1080/", Proxy("socks5h", "127.0.0.1", 1080)),
        ("me:p%40ss%3a@proxy:1", Proxy("http", "proxy", 1, "me", "p@ss:")),
        ("http://me:p@ss@proxy:1", Proxy("http", "proxy", 1, "me", "p@ss")),
        ("http://me@proxy", Proxy("http", "proxy", 1080, "me")),
    ],
)
def test_an_address_of_a_proxy(text: str, expected: Proxy) -> None:
    assert parse(text) == expected
    # A test reads it back. The password is not shown.
    assert parse(str(expected)).port == expected.port
    assert "ss" not in f"{expected} {expected!r}".replace("socks", "").replace("password", "")


@pytest.mark.parametrize(
    "text",
    ["http://", "ftp://proxy", "http://proxy:port", "http://proxy:70000", "http://proxy:0",
     "http://[::1", "://x", "http://me:sec#ret@proxy:1", "http://a b:1", "none:x",
     "http:/proxy:3128", "//proxy:3128"],
)  # fmt: skip
def test_no_address_of_a_proxy(text: str) -> None:
    with pytest.raises(ProxyProblem) as raised:
        parse(text, "https_proxy")
    assert str(raised.value).startswith("https_proxy is not the address of a proxy: expected [http")
    assert "sec" not in str(raised.value)


def test_the_name_is_looked_up_here_or_by_the_proxy() -> None:
    assert [parse(f"{scheme}://p").looks_up for scheme in proxy.PORTS] == [
        scheme not in ("socks4", "socks5") for scheme in proxy.PORTS
    ]


@pytest.mark.parametrize("scheme", ["", "http://", "socks5h://"])
@pytest.mark.parametrize("password", ["secret", "sec/ret", "sec:ret", "secret%40"])
def test_the_password_is_never_shown(scheme: str, password: str) -> None:
    assert config.masked(f"{scheme}me:{password}@proxy:1") == f'"{scheme}****@proxy:1"'
    # An error shows the value of its setting.
    with pytest.raises(config.ConfigError) as raised:
        config.resolve(None, {}, [f"link.proxy={scheme}me:{password}@proxy:70000"])
    assert "link.proxy = " in str(raised.value)
    assert "sec" not in str(raised.value)
