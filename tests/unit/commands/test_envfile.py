"""The file .env: which values it gives, and which lines are reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commands import envfile

pytestmark = pytest.mark.unit

KEY = "sk-test-SECRET"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("K=Speak German please", "Speak German please"),
        ("\ufeffK=v", "v"),
        ("export K=v", "v"),
        ("  K = v  ", "v"),
        ("K=v\r\n", "v"),
        ("K=a#b", "a#b"),
        ("K=Don't be shy", "Don't be shy"),
        ('K="Don\'t say #1"', "Don't say #1"),
        ("K='a b'", "a b"),
        ("K=", ""),
        ("J=x\nK=${J}y", "xy"),
        ('K="two\nlines"', "two\nlines"),
    ],
)
def test_values_are_read_as_python_dotenv_reads_them(file: Path, written: str, value: str) -> None:
    file.write_text(written, encoding="utf-8")
    values, oddities = envfile.read(file)
    assert values["K"] == value
    assert oddities == []


@pytest.mark.parametrize(
    ("line", "oddity"),
    [
        ("K", "K has no value: write K=value"),
        ("just words", "cannot be read"),
        ("K='It's'", "cannot be read"),
        ("K=one # two", "the value of K ends before '#'"),
        ("K='a\nJ=b'", "the value of K goes on over the next variable"),
        ("BARGEIN_SESSION_VOICE=cedar", "is not a setting: did you mean BARGEIN_SESSION__VOICE?"),
        ("K=a\0b", "cannot be read"),
        ("K=$(cat key)", "K: nothing runs the command in the value"),
        ("K=${NO_SUCH_VARIABLE}", "K is empty: the environment has no variable"),
        ("openai_api_key=sk", "did you mean OPENAI_API_KEY?"),
        ("bargein_session__voice=cedar", "did you mean BARGEIN_SESSION__VOICE?"),
        ("$env:OPENAI_API_KEY='sk'", "no name of a variable before '=': did you mean OPENAI_API"),
        ("OPENAI-API-KEY=sk", "no name of a variable before '=': did you mean OPENAI_API_KEY?"),
        ("a.b=1", "no name of a variable before '='"),
        ("K=1 OPENAI_API_KEY=sk", "the value of K goes on with OPENAI_API_KEY=: write that on a"),
    ],
)
def test_an_oddity_is_reported_with_the_number_of_its_line(
    file: Path, line: str, oddity: str
) -> None:
    file.write_text(f"# a comment\n\n\n{line}\nL=1\n")
    values, [said] = envfile.read(file)
    assert said.startswith(f"{file}: line 4: ")
    assert oddity in said
    assert values["L"] == "1"


@pytest.mark.parametrize(
    "written",
    [
        f"OPENAI_API_KEY='{KEY}",
        f"  export OPENAI_API_KEY: {KEY}",
        f"BARGEIN_SESSION__GREETING='It's {KEY}'",
        # The quote before it takes the key's line with it.
        f"K='open\nOPENAI_API_KEY={KEY}\nL='x'\n",
    ],
)
def test_a_line_of_ours_that_cannot_be_read_is_an_error(file: Path, written: str) -> None:
    file.write_text(f"# a comment\n{written}")
    with pytest.raises(envfile.EnvFileError, match=re.escape(f"{file}: line 2: ")) as caught:
        envfile.read(file)
    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("written", [KEY, f"OPENAI_API_KEY＝{KEY}", f"{KEY}=="])
def test_a_key_without_its_variable_is_reported_and_not_shown(file: Path, written: str) -> None:
    file.write_text(written, encoding="utf-8")
    _, [said] = envfile.read(file)
    assert said.startswith(f"{file}: line 1: ")
    assert KEY not in said


def test_a_variable_that_is_given_twice_is_reported(file: Path) -> None:
    file.write_text("K=a\nK=b\nL=c\nL=c\n")
    values, oddities = envfile.read(file)
    assert values == {"K": "b", "L": "c"}
    assert oddities == [f"{file}: line 2: K is given again: the last value counts"]


@pytest.mark.parametrize(
    ("data", "line"), [(b"A=1\nB=\xff\n", 2), ("A=1\n".encode("utf-16-le"), 1)]
)
def test_a_file_that_is_not_utf_8_is_an_error_with_a_line(
    file: Path, data: bytes, line: int
) -> None:
    file.write_bytes(data)
    with pytest.raises(envfile.EnvFileError, match=f"line {line}: not UTF-8"):
        envfile.read(file)


def test_no_file_has_no_variables(file: Path) -> None:
    assert envfile.read(file) == ({}, [])


def test_the_files_are_those_that_the_command_line_names(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("A=1\nB=1\n")
    (tmp_path / "two").write_text("B=2\n")
    named = envfile.named_on(["-q", "capture", "-d", str(tmp_path), "--env=one,two", "link"])
    assert envfile.read_files(*named)[0] == {"A": "1", "B": "2"}
    assert envfile.named_on(["link"]) == (".env", ".")
