"""Numbers that only grow, across restarts and whatever the clock does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.numbers import LARGEST, Numbers

pytestmark = pytest.mark.unit

HOUR_US = 3_600_000_000


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the wall clock, µs, as a list of one."""
    now = [time.time_ns() // 1000]
    monkeypatch.setattr("shared.now.time_ns", lambda: now[0] * 1000)
    return now


def test_they_begin_at_the_clock_and_grow_with_it(tmp_path: Path, clock: list[int]) -> None:
    numbers = Numbers(tmp_path, "link")
    assert [numbers.next(), numbers.next()] == [clock[0], clock[0] + 1]
    clock[0] += HOUR_US
    assert numbers.next() == clock[0]
    assert Numbers(tmp_path, "link", unit_ns=1_000_000).next() > clock[0]


@pytest.mark.parametrize("moved_us", [0, -HOUR_US, -50 * 8766 * HOUR_US])
def test_after_a_restart_they_go_on_after_the_last_one(
    tmp_path: Path, clock: list[int], moved_us: int
) -> None:
    last = max(Numbers(tmp_path, "link").next() for _ in range(3))
    clock[0] += moved_us
    assert Numbers(tmp_path, "link").next() == last + 1
    # Each stage has its own.
    assert Numbers(tmp_path, "capture").next() == clock[0]


def test_a_number_that_was_counted_elsewhere_is_kept(tmp_path: Path, clock: list[int]) -> None:
    numbers = Numbers(tmp_path, "generation")
    first = numbers.next()
    numbers.reached(first + 7)
    numbers.reached(first + 3)
    assert Numbers(tmp_path, "generation").next() == first + 8


@given(st.binary(max_size=40))
def test_a_damaged_file_is_no_obstacle(content: bytes) -> None:
    directory = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp")
    path = directory / "bargein-test.number"
    path.write_bytes(content)
    try:
        number = Numbers(directory, "bargein-test").next()
        assert 0 < number <= LARGEST
        assert Numbers(directory, "bargein-test").next() > number
    finally:
        path.unlink()


def test_numbers_grow_without_a_writable_file(tmp_path: Path, clock: list[int]) -> None:
    numbers = Numbers(tmp_path / "gone", "link")
    assert numbers.next() < numbers.next()
    (tmp_path / "link.number").symlink_to(tmp_path / "elsewhere")
    linked = Numbers(tmp_path, "link")
    assert linked.next() < linked.next()
    assert not (tmp_path / "elsewhere").exists()


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    Numbers(tmp_path, "link").next()
    assert (tmp_path / "link.number").stat().st_mode & 0o777 == 0o600
