"""The thread for a library that may hang: one job at a time, and nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from shared.audio.jobs import JobThread, StillRunning

pytestmark = pytest.mark.unit

#: Long enough for a job that hangs to have begun, s.
SHORT_S = 0.05
PATIENCE_S = 20.0


class Library:
    """A library whose calls hang until the test lets them go on."""

    def __init__(self) -> None:
        self.thread = JobThread("library")
        self.goes_on = threading.Event()
        self.begun: list[str] = []
        self.undone: list[str] = []

    def open(self, name: str, *, hangs: bool = False) -> str:
        """Open something on the thread; give up after a moment if that hangs."""

        def work() -> str:
            self.begun.append(name)
            if hangs:
                self.goes_on.wait(PATIENCE_S)
            return name

        return self.thread.call(work, SHORT_S if hangs else PATIENCE_S, self.undo)

    def undo(self, name: str) -> None:
        self.undone.append(name)


@pytest.fixture(name="library")
def _library() -> Iterator[Library]:
    library = Library()
    yield library
    library.goes_on.set()


def test_a_job_has_its_result_or_its_error(library: Library) -> None:
    assert library.open("one") == "one"
    with pytest.raises(ZeroDivisionError):
        library.thread.call(lambda: str(1 // 0), PATIENCE_S, library.undo)
    assert library.open("two") == "two"
    assert library.undone == []


def test_a_device_that_a_job_opens_late_is_closed_before_the_caller_knows(
    library: Library,
) -> None:
    with pytest.raises(StillRunning) as hung:
        library.open("late", hangs=True)
    over = hung.value.over
    assert not over.is_set()
    # Meanwhile no other job begins, and nobody waits for one.
    for name in ("second", "third"):
        with pytest.raises(StillRunning):
            library.open(name)
    assert library.begun == ["late"]
    library.goes_on.set()
    assert over.wait(PATIENCE_S)
    assert library.undone == ["late"]
    assert library.open("next") == "next"
    assert library.begun == ["late", "next"]
    assert library.undone == ["late"]


def test_a_job_that_was_given_up_before_its_turn_never_runs(library: Library) -> None:
    def open_one() -> str:
        library.begun.append("one")
        return "one"

    held = threading.Event()
    caller = threading.Thread(target=lambda: library.thread.finish(held.wait, PATIENCE_S))
    caller.start()
    try:
        with pytest.raises(StillRunning) as hung:
            library.thread.call(open_one, SHORT_S, library.undo)
    finally:
        held.set()
        caller.join()
    assert hung.value.over.wait(PATIENCE_S)
    assert (library.begun, library.undone) == ([], [])


def test_a_job_that_must_be_finished_is_finished_even_after_its_time(library: Library) -> None:
    closed: list[str] = []
    with pytest.raises(StillRunning):
        library.open("late", hangs=True)
    library.thread.finish(lambda: closed.append("one"), SHORT_S)
    with pytest.raises(StillRunning) as hung:
        library.open("next")
    assert closed == []
    library.goes_on.set()
    assert hung.value.over.wait(PATIENCE_S)
    assert (library.undone, closed) == (["late"], ["one"])


def test_an_error_that_comes_late_does_not_end_the_thread(library: Library) -> None:
    def work() -> None:
        library.goes_on.wait(PATIENCE_S)

    def fail(*_: object) -> None:
        raise OSError("gone")

    with pytest.raises(StillRunning) as hung:
        library.thread.call(work, SHORT_S, fail)
    library.thread.finish(fail, SHORT_S)
    library.goes_on.set()
    assert hung.value.over.wait(PATIENCE_S)
    library.thread.finish(lambda: None, PATIENCE_S)
    assert library.open("next") == "next"
