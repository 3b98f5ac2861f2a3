"""A thread that runs jobs one at a time, for a library that may hang."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class StillRunning(Exception):
    """Raised when a job does not end in time, or cannot begin because an earlier one still runs."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__("still running")
        #: Set when the thread is free again, and ``undo`` has run for the job that was given up.
        self.over = over


class JobThread:
    """A thread for jobs. While a job that its caller gave up still runs, no other one is begun.

    The thread starts with the first job. It does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()  # of the last job that its caller gave up
        self._over.set()

    def call(self, work: Callable[[], _T], seconds: float, undo: Callable[[_T], object]) -> _T:
        """Call ``work`` on the thread; return its result, or raise what it raises.

        Raises StillRunning after ``seconds``, or at once while an earlier job runs that was given
        up. If ``work`` ends later than that, ``undo`` is called on the thread with its result.
        """
        if not self._over.is_set():
            raise StillRunning(self._over)
        ended, given_up, lock = threading.Event(), threading.Event(), threading.Lock()
        result: list[_T] = []
        errors: list[BaseException] = []

        def job() -> None:
            if given_up.is_set():
                return
            try:
                result.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                errors.append(error)
            with lock:
                ended.set()
                late = given_up.is_set()
            if late and result:
                undo(result[0])

        self._put(job)
        ended.wait(seconds)
        with lock:
            if not ended.is_set():
                given_up.set()
        if given_up.is_set():
            raise StillRunning(self._give_up())
        if errors:
            raise errors[0]
        return result[0]

    def finish(self, work: Callable[[], object], seconds: float) -> None:
        """Call ``work`` on the thread, after all jobs before it; wait for ``seconds`` at most."""
        ended = threading.Event()

        def job() -> None:
            try:
                work()
            finally:
                ended.set()

        self._put(job)
        if not ended.wait(seconds):
            self._give_up()

    def _give_up(self) -> threading.Event:
        """Return an event that is set when the thread has done all jobs so far."""
        self._over = over = threading.Event()
        self._put(over.set)
        return over

    def _put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            # A failure after the caller has gone concerns nobody, and must not end the thread.
            with contextlib.suppress(Exception):
                self._jobs.get()()
