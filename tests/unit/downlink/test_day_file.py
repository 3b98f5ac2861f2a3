"""What was used today outlives the process, and two conversations add to the same sum."""

from __future__ import annotations

import fcntl
import stat
from pathlib import Path

import pytest

from services.downlink.day_file import LOCK, NAME, DayFile
from shared import messages

pytestmark = pytest.mark.unit

ONE = messages.Spent(responses=1, input_text=10, cost_micros=7)
TODAY = "2026-11-27"


def opened(directory: Path, server: str = "wss://a", date: str = TODAY) -> DayFile:
    file = DayFile(directory, server)
    file.look(date)
    return file


def used(directory: Path, times: int = 1, server: str = "wss://a") -> DayFile:
    file = opened(directory, server)
    for _ in range(times):
        file.add(ONE)
        file.write()
    return file


def test_another_process_goes_on_with_the_sum(tmp_path: Path) -> None:
    assert opened(tmp_path).day == messages.Spent()
    used(tmp_path / "new", 2)
    assert opened(tmp_path / "new").day.responses == 2


def test_two_conversations_add_up(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    for file in (one, other, one):
        file.add(ONE)
        file.write()
    assert opened(tmp_path).day == one.day
    assert one.day.cost_micros == 3 * ONE.cost_micros


def test_each_server_has_its_own_sum(tmp_path: Path) -> None:
    used(tmp_path, 1, "ws://127.0.0.1:1")
    assert opened(tmp_path, "wss://a").day == messages.Spent()


def test_the_next_day_begins_with_nothing(tmp_path: Path) -> None:
    file = used(tmp_path)
    assert file.look("2026-11-28")
    assert file.day == messages.Spent()
    file.add(ONE)
    file.write()
    assert opened(tmp_path, date="2026-11-28").day == ONE


def test_nobody_waits_for_the_lock(tmp_path: Path) -> None:
    file = used(tmp_path)
    with (tmp_path / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.add(ONE)
        file.write()
        assert opened(tmp_path).day.responses == 1
    file.write()
    assert opened(tmp_path).day.responses == file.day.responses == 2


def test_a_file_that_is_not_ours_counts_for_nothing(tmp_path: Path) -> None:
    for text in (b"", b"[]", b'{"date":"2026-11-27","servers":{"wss://a":{"responses":-1}}}'):
        (tmp_path / NAME).write_bytes(text)
        assert opened(tmp_path).day == messages.Spent()


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    used(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / NAME).stat().st_mode) == 0o600
