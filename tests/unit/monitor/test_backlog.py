"""What waits for a watcher is limited, and a watcher that loses something is told."""

from __future__ import annotations

import pytest

from services.monitor.backlog import MOST, MOST_BYTES, Backlog

pytestmark = pytest.mark.unit


def test_messages_come_in_their_order() -> None:
    backlog = Backlog()
    assert backlog.take() is None
    assert backlog.put(b"a")
    assert backlog.put(b"b", sound=True)
    assert [backlog.take(), backlog.take(), backlog.take()] == [(b"a", False), (b"b", True), None]
    assert backlog.accept_again() == 0


@pytest.mark.parametrize(("size", "most"), [(1, MOST), (MOST_BYTES // 4, 4)])
def test_a_watcher_that_takes_nothing_loses_everything_and_is_reported(
    size: int, most: int
) -> None:
    backlog = Backlog()
    for _ in range(most):
        assert backlog.put(bytes(size))
    assert not backlog.put(bytes(size))
    assert not backlog.put(b"later")
    assert backlog.take() is None
    assert backlog.accept_again() == most + 2
    # after that it takes messages again
    assert backlog.put(b"new")
    assert backlog.take() == (b"new", False)
    assert backlog.accept_again() == 0
