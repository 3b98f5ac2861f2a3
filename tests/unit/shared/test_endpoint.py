"""Where the server is, and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Link
from shared.realtime import endpoint

pytestmark = pytest.mark.unit

OPENAI = "wss://api.openai.com/v1/realtime"
AZURE = "wss://mine.openai.azure.com/openai/v1/realtime"
LOCAL = "ws://127.0.0.1:8790/v1/realtime"
KEY = "sk-1234567890abcdef"


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"url": OPENAI}, [f"Authorization: Bearer {KEY}"]),
        ({"url": LOCAL}, [f"Authorization: Bearer {KEY}"]),
        ({"url": AZURE}, [f"api-key: {KEY}"]),
        ({"url": "wss://MINE.OpenAI.Azure.COM/openai/v1/realtime"}, [f"api-key: {KEY}"]),
        ({"url": "wss://mine.services.ai.azure.com/openai/v1/realtime"}, [f"api-key: {KEY}"]),
        ({"url": "wss://mine.openai.azure.us/openai/v1/realtime"}, [f"api-key: {KEY}"]),
        ({"url": "wss://mine.openai.azure.cn/openai/v1/realtime"}, [f"api-key: {KEY}"]),
        ({"url": "wss://mine.azure-api.net/openai/v1/realtime"}, [f"api-key: {KEY}"]),
        ({"url": "wss://azure.com.example.org/v1/realtime"}, [f"Authorization: Bearer {KEY}"]),
        ({"url": "wss://notazure.com/v1/realtime"}, [f"Authorization: Bearer {KEY}"]),
        ({"url": AZURE, "auth": "bearer"}, [f"Authorization: Bearer {KEY}"]),
        ({"url": OPENAI, "auth": "api-key"}, [f"api-key: {KEY}"]),
        ({"url": OPENAI, "auth": "none"}, []),
    ],
)
def test_the_key_is_sent_in_the_header_of_the_service(
    settings: dict[str, Any], headers: list[str]
) -> None:
    url, sent = endpoint.request(Link(**settings), KEY)
    assert sent == headers
    assert KEY not in url


@pytest.mark.parametrize("auth", ["auto", "bearer", "api-key", "none"])
def test_without_a_key_no_header_is_sent(auth: Any) -> None:
    assert endpoint.request(Link(url=LOCAL, auth=auth), "")[1] == []


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (OPENAI, f"{OPENAI}?model=m"),
        (f"{AZURE}?", f"{AZURE}?model=m"),
        (f"{OPENAI}?safety=1", f"{OPENAI}?safety=1&model=m"),
        (f"{OPENAI}?model=other", f"{OPENAI}?model=other"),
        (f"{OPENAI}?call_id=rtc_1", f"{OPENAI}?call_id=rtc_1"),
        (f"{OPENAI}?intent=transcription", f"{OPENAI}?intent=transcription"),
        (f"{AZURE}?deployment=d&api-version=v", f"{AZURE}?deployment=d&api-version=v"),
        (f"{AZURE}?api-key=a%2Bb%26c", f"{AZURE}?api-key=a%2Bb%26c&model=m"),
        (f"{OPENAI}?empty=", f"{OPENAI}?empty=&model=m"),
    ],
)
def test_the_model_is_in_the_url_once(url: str, asked: str) -> None:
    assert endpoint.request(Link(url=url, model="m"), KEY)[0] == asked


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("wss://b\u00fccher.example/v1", "wss://xn--bcher-kva.example/v1"),
        ("wss://[fe80::1%25eth0]:1/", "wss://[fe80::1%eth0]:1/"),
        ("wss://[::1]/v1/", "wss://[::1]/v1/"),
        ("wss://h:1/a b/\u00fc%20?q=\u00fc#part", "wss://h:1/a%20b/%C3%BC%20?q=%C3%BC"),
        ("wss://h", "wss://h"),
    ],
)
def test_a_url_is_sent_as_a_browser_writes_it(url: str, asked: str) -> None:
    assert endpoint.request(Link(url=url, model=""), KEY)[0] == asked


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert endpoint.where("wss://[::1]:8790/v1?key=secret") == "wss://[::1]:8790"


def test_without_a_model_the_url_is_left_alone() -> None:
    assert endpoint.request(Link(url=OPENAI, model=""), KEY)[0] == OPENAI


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_name_of_a_model_arrives(model: str) -> None:
    url, _ = endpoint.request(Link(url=f"{OPENAI}?a=b", model=model), KEY)
    query = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert query == {"a": ["b"], "model": [model]}


# the key


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, f" {KEY}\n")
    assert endpoint.read_key(Link()) == KEY


def test_a_key_file_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "another")
    file = tmp_path / "key"
    file.write_text(f"{KEY}\r\n")
    assert endpoint.read_key(Link(key_file=str(file))) == KEY


def test_a_key_file_may_be_in_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(KEY)
    assert endpoint.read_key(Link(key_file="~/key")) == KEY


def problem(settings: Link) -> str:
    with pytest.raises(endpoint.KeyProblem) as caught:
        endpoint.read_key(settings)
    text = str(caught.value)
    assert text.isprintable()  # one line
    return text


def test_no_key_is_one_line_that_says_what_to_do() -> None:
    for url in (OPENAI, AZURE):
        said = problem(Link(url=url))
        assert all(what in said for what in ("OPENAI_API_KEY", "link.key_file", "bin/demo"))


@pytest.mark.parametrize("settings", [Link(url=LOCAL), Link(url=OPENAI, auth="none")])
def test_no_key_is_needed_on_this_machine_or_where_none_is_sent(settings: Link) -> None:
    assert endpoint.read_key(settings) == ""


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, why in (
        (missing, "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "not plain"),
    ):
        said = problem(Link(key_file=str(path)))
        # The name of a file that is not there could be the key itself.
        name = f" {path}" if path.exists() else ""
        assert said.startswith(f"link.key_file{name}: {why}")
        assert "put the API key alone in" in said


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" \n")
    assert "no API key" in problem(Link(key_file=str(file)))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (f'"{KEY}"', "is in quotes: remove the quotes"),
        (f"'{KEY}'", "is in quotes"),
        (f"“{KEY}”", "is in quotes"),
        (f"{KEY}'", "is in quotes"),
        (f"OPENAI_API_KEY={KEY}", "has 'NAME=' in front: put the key alone in it"),
        (f"export KEY = {KEY}", "has 'NAME=' in front"),
        (f'OPENAI_API_KEY="{KEY}"', "is in quotes"),
        (f"<{KEY}>", "has '<' around it: put the key alone in it"),
        (f"{KEY};", "has ';' around it"),
        (f"{KEY},", "has ',' around it"),
        (f"${{{KEY}}}", "has '}' around it"),
    ],
)
def test_a_key_that_was_copied_with_its_wrapping_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str, why: str
) -> None:
    file = tmp_path / "key"
    file.write_text(written, encoding="utf-8")
    monkeypatch.setenv(endpoint.KEY_VARIABLE, written)
    for settings, source in (
        (Link(key_file=str(file)), f"link.key_file {file}"),
        (Link(), "OPENAI_API_KEY"),
    ):
        said = problem(settings)
        assert said.startswith(f"the API key in {source} {why}")
        assert KEY not in said


@pytest.mark.parametrize("key", [KEY, "QmFzZTY0IQ==", "1a=b", f"\ufeff{KEY}"])
def test_a_key_may_end_with_the_padding_of_base64_and_its_file_may_have_a_mark(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    settings = Link(key_file=str(tmp_path / "key"))
    assert endpoint.read_key(settings) == key.removeprefix("\ufeff")


@pytest.mark.parametrize(
    "key", ["sk-one\nX-Header: two", "sk-one two", "sk-\x00", "sk-é", "sk-\u200b1", "a\rb", "a\tb"]
)
def test_a_key_with_odd_characters_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(key.encode())
    said = [problem(Link(key_file=str(file)))]
    if "\x00" not in key:
        monkeypatch.setenv(endpoint.KEY_VARIABLE, key)
        said.append(problem(Link()))
        assert "the API key in OPENAI_API_KEY" in said[1]
    for text in said:
        assert key not in text
        assert "sk-" not in text
