"""Signals: how a process learns that it has to end, and ends even if it is stuck."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared import parent
from shared.exit_codes import DONE, RESTART

if TYPE_CHECKING:
    from types import FrameType

#: This signal ends a stage with the code RESTART.
RESTART_SIGNAL = signal.SIGUSR1
#: At this signal a stage reads its settings again. Without a handler it does nothing, so it does no
#: harm to a stage in another language. (SIGUSR2 is taken: see shared/parent.py.)
RELOAD_SIGNAL = signal.SIGURG
#: A process that was asked to end is ended by force after this time, s: bin/start must be over
#: within a second of Ctrl-C.
SHUTDOWN_S = 0.8

#: Open sockets: the interpreter only keeps their descriptors, and a collected socket closes its
#: descriptor.
_ARMED: list[socket.socket] = []


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end this process: SIGHUP is not one of them under nohup.

    To be called before this process sets handlers for signals.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    return numbers if parent.ignored(signal.SIGHUP) else [*numbers, signal.SIGHUP]


def _nothing_to_reload() -> None:
    """Do nothing: most processes read no settings again."""


def arm_signals(
    stop: Callable[[str, int], None], reload: Callable[[], None] = _nothing_to_reload
) -> None:
    """Call ``stop`` when this process has to end, and end the process if it is then stuck.

    ``stop`` is called on a thread of its own, with the reason ("" if somebody asked for the end)
    and the exit code. It is called on the signals of `ending_signals`, on SIGUSR1 with the code
    RESTART, and when the process that started this one is gone or stopped; see shared/parent.py.

    ``reload`` is called on the same thread at RELOAD_SIGNAL, and at SIGHUP if this process has no
    controlling terminal: then only a person or a program sends SIGHUP. Otherwise SIGHUP means that
    the terminal is gone.

    A loop that waits in C does not see a flag that a handler sets. But the interpreter writes to
    its wake-up descriptor whatever the main thread does, so a thread that reads the descriptor can
    act.
    """
    watched = parent.to_watch()
    ends, reloads = {*ending_signals(), RESTART_SIGNAL}, {RELOAD_SIGNAL}
    follows = reload is not _nothing_to_reload and not parent.has_terminal()
    if follows and signal.SIGHUP in ends:
        ends.remove(signal.SIGHUP)
        reloads.add(signal.SIGHUP)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    reader.settimeout(None if watched is None else parent.LOOK_S)
    _ARMED.append(writer)

    def guard() -> None:
        reason, code = "", DONE
        while not reason:
            try:
                number = reader.recv(1)
            except TimeoutError:
                number = bytes([parent.LOOK])
            if not number:
                return
            if number[0] in ends:
                code = RESTART if number[0] == RESTART_SIGNAL else DONE
                break
            if number[0] in reloads:
                reload()
            if number[0] == parent.LOOK and watched is not None:
                reason = watched.lost()
        stop(reason, code)
        time.sleep(SHUTDOWN_S)
        os._exit(code)

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (*ends, *reloads, parent.LOOK):
        signal.signal(number, ignore)
    threading.Thread(target=guard, name="signals", daemon=True).start()
    if watched is not None:
        parent.signal_at_its_end()
