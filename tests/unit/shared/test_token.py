"""A token that a command prints: how it is read, and how long it is kept."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from shared.realtime.token import EARLY_S, UNKNOWN_S, Token, TokenProblem, read

pytestmark = pytest.mark.unit

NOW = 1_000_000.0
#: How long a command may take here, s: on a busy machine Python starts in seconds.
PATIENCE_S = 120.0


def jwt(ends_s: float) -> str:
    parts = ({"alg": "none"}, {"exp": ends_s})
    return ".".join(
        [
            *(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts),
            "signature",
        ]
    )


@pytest.mark.parametrize(
    ("printed", "token", "kept_s"),
    [
        ("ek_123", "ek_123", UNKNOWN_S),
        ("a.b.c", "a.b.c", UNKNOWN_S),
        (jwt(NOW + 3600), jwt(NOW + 3600), 3600 - EARLY_S),
        (jwt(NOW + 60), jwt(NOW + 60), 30),
        (jwt(NOW - 5), jwt(NOW - 5), -5),
        ('{"accessToken": "t", "expires_on": 1003600}', "t", 3600 - EARLY_S),
        ('{"access_token": "t"}', "t", UNKNOWN_S),
    ],
)
def test_a_token_is_kept_until_a_while_before_its_end(
    printed: str, token: str, kept_s: float
) -> None:
    assert read(printed, NOW) == (token, NOW + kept_s)


@pytest.mark.parametrize("printed", ["", "two words", "two\nlines", "{}", "{", "ключ"])
def test_an_output_that_is_no_token_is_refused_and_not_shown(printed: str) -> None:
    with pytest.raises(TokenProblem) as problem:
        read(printed, NOW)
    assert not printed.strip("{}") or printed not in str(problem.value)


def script(path: Path, text: str) -> str:
    path.write_text(text)
    return f"'{sys.executable}' '{path}'"


def counting(directory: Path, ends_s: str = "") -> str:
    """Return a command that prints another token each time."""
    file = directory / "count"
    text = f"""
import pathlib, time
file = pathlib.Path({str(file)!r})
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
print('{{"token": "secret-%d"{ends_s}}}' % count)
"""
    return script(directory / "command.py", text)


def test_the_command_runs_again_only_if_it_has_to(tmp_path: Path) -> None:
    token = Token(counting(tmp_path), PATIENCE_S)
    assert [token.get(), token.get()] == ["secret-1", "secret-1"]
    token.forget()
    assert token.get() == "secret-2"


def test_a_token_that_expires_is_replaced_before_somebody_needs_it(tmp_path: Path) -> None:
    token = Token(counting(tmp_path, ', "expires_on": 1'), PATIENCE_S)
    assert token.get() == "secret-1"
    token.look_after()
    assert token._refreshing is not None
    token._refreshing.join()
    assert (tmp_path / "count").read_text() == "2"


def test_a_command_that_fails_is_named_without_its_output(tmp_path: Path) -> None:
    failing = "import sys; print('SECRET'); sys.exit('log in first')"
    with pytest.raises(TokenProblem, match="ended with code 1: log in first"):
        Token(script(tmp_path / "f.py", failing), PATIENCE_S).get()
    with pytest.raises(TokenProblem, match="No such file or directory"):
        Token("no-such-command --x", PATIENCE_S).get()
    with pytest.raises(TokenProblem, match=r"took more than 0\.2 s"):
        Token(script(tmp_path / "s.py", "import time; time.sleep(9)"), 0.2).get()
