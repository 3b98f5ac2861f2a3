"""Which server has accepted which key, across a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.link.worked import NAME, Worked, place

pytestmark = pytest.mark.unit

URL, KEY = "wss://api.openai.com/v1/realtime?model=m", "sk-SECRET"


def test_it_is_known_to_the_next_process(tmp_path: Path) -> None:
    assert not Worked(tmp_path, URL, KEY).accepted_before
    worked = Worked(tmp_path, URL, KEY)
    worked.remember()
    assert worked.accepted_before
    assert Worked(tmp_path, URL, KEY).accepted_before
    assert not Worked(tmp_path, URL, "another key").accepted_before
    assert not Worked(tmp_path, f"{URL}2", KEY).accepted_before
    file = tmp_path / NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"SECRET" not in file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_last_one_counts(tmp_path: Path) -> None:
    Worked(tmp_path, URL, KEY).remember()
    Worked(tmp_path, URL, "new key").remember()
    assert Worked(tmp_path, URL, "new key").accepted_before
    assert not Worked(tmp_path, URL, KEY).accepted_before


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"x" * 10_000])
def test_a_file_that_says_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    worked = Worked(tmp_path, URL, KEY)
    assert not worked.accepted_before
    worked.remember()
    assert Worked(tmp_path, URL, KEY).accepted_before


def test_a_reboot_does_not_forget_a_server_of_the_network(tmp_path: Path) -> None:
    bus, state = tmp_path / "run" / "bargein", tmp_path / "state"
    environment = {"XDG_STATE_HOME": str(state), "HOME": "/home/somebody"}
    where = place(URL, bus, environment)
    assert where == state / "bargein"
    Worked(where, URL, KEY).remember()
    assert (state / "bargein").stat().st_mode & 0o777 == 0o700
    # The bus directory is gone now, and a portal answers first.
    assert Worked(place(URL, bus, environment), URL, KEY).accepted_before


def test_an_emulator_does_not_replace_what_is_known_of_a_real_server(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    assert place("ws://127.0.0.1:8790/v1/realtime", Path("/bus"), environment) == Path("/bus")


def test_a_directory_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    worked = Worked(tmp_path / "gone", URL, KEY)
    worked.remember()
    assert worked.accepted_before
