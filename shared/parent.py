"""The process that started this one: a stage ends when that process is gone or stopped.

A stage streams a person's voice, so it must not outlive the window that it was started from. Under
honcho a stage has a session of its own, so that the terminal's hang-up never reaches it, and honcho
itself may be killed. Therefore a stage looks at the processes above it once a second; on Linux the
kernel also signals the end of the parent at once (PR_SET_PDEATHSIG).

A stage that was started to stay does not watch its parent: one that was started by systemd or
another init, with nohup, or by hand in the background. A stage that honcho started always watches:
honcho is its window, whoever started honcho.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

import psutil

#: honcho sets this variable for each process that it starts.
HONCHO_VARIABLE = "HONCHO_PROCESS_NAME"
#: Names of the processes whose children are meant to run without a window.
INITS = frozenset({"systemd", "init", "launchd"})
#: The kernel sends this signal when the thread that started this process has ended. That thread's
#: process may live on, so at the signal this process only checks.
LOOK = signal.SIGUSR2
#: The time between two checks of the processes above, s: the longest that a stage outlives its
#: window where the kernel does not signal the end of the parent.
LOOK_S = 1.0
#: From linux/prctl.h.
PR_SET_PDEATHSIG = 1


def ignored(number: signal.Signals) -> bool:
    """Return whether a signal was to be ignored when this process started (SIGHUP: by nohup).

    To be called before this process sets a handler for the signal.
    """
    return signal.getsignal(number) is signal.SIG_IGN


def in_background() -> bool:
    """Return whether a shell started this process in the background.

    To be called before this process sets handlers for signals.
    """
    # POSIX: a command that a shell without job control (a script) starts with "&" ignores SIGINT.
    if ignored(signal.SIGINT):
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False  # no terminal, so no shell's job
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def told_to_stay() -> bool:
    """Return whether a person has told this process to stay when its terminal is gone.

    To be called before this process sets handlers for signals.
    """
    return HONCHO_VARIABLE not in os.environ and (ignored(signal.SIGHUP) or in_background())


def hung_up(descriptor: int) -> bool:
    """Return whether a terminal, a pipe or a socket has lost its other end."""
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up and an error are always reported
    return any(found & (select.POLLHUP | select.POLLERR) for _, found in poll.poll(0))


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal, whose end the kernel reports.

    A service has none, and neither has a stage under honcho, which has a session of its own.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_init(pid: int) -> bool:
    try:
        return pid == 1 or psutil.Process(pid).name() in INITS
    except psutil.Error:
        return False


def signal_at_its_end() -> None:
    """Ask the kernel for LOOK when the parent's thread ends. Does nothing where it can't.

    To be called after a handler for LOOK was set: the default action ends the process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(LOOK))


def to_watch() -> Parent | Terminal | None:
    """Return the processes or the terminal whose end ends this process; None: it was told to stay.

    To be called before this process sets handlers for signals.
    """
    if told_to_stay():
        return None
    if HONCHO_VARIABLE in os.environ or not _is_init(os.getppid()):
        return Parent()
    # A service has no terminal. A process that was started with setsid has one, but no SIGHUP.
    return Terminal() if os.isatty(2) else None


class Terminal:
    """The terminal that shows the log."""

    def lost(self) -> str:
        """Return why this process has to end, or "" if it may go on."""
        return "its terminal is gone" if hung_up(2) else ""


class Parent:
    """The processes above this one, as they were when the object was made.

    They are the parent, and the processes above it that run in its process group: honcho has one or
    two processes of its own between itself and each stage.
    """

    def __init__(self) -> None:
        self.pid = os.getppid()
        self._above = _group_above(self.pid)
        # honcho was killed before this process could look
        self._orphaned = HONCHO_VARIABLE in os.environ and _is_init(self.pid)
        self._stopped = False  # in the last call of lost()

    def lost(self) -> str:
        """Return why this process has to end, or "" if it may go on.

        Return a reason if one of the processes is gone, or if one of them was stopped in two calls
        in a row (Ctrl-Z; in one call it may be about to stop this process as well).
        """
        if os.getppid() != self.pid or self._orphaned:
            return _gone(self.pid)
        stopped = False
        below = None
        for pid in (self.pid, *self._above):
            try:
                if below is not None and below.ppid() != pid:
                    return _gone(pid)
                below = psutil.Process(pid)
                stopped = stopped or below.status() == psutil.STATUS_STOPPED
            except psutil.NoSuchProcess:
                return _gone(pid)
            except psutil.Error:
                return ""  # another user's process: it is there, but we may not look at it
        again, self._stopped = self._stopped and stopped, stopped
        return "the process that started it is stopped" if again else ""


def _gone(pid: int) -> str:
    return f"the process that started it (pid {pid}) is gone"


def _group_above(pid: int) -> list[int]:
    """Return the processes above a process that run in its process group, the nearest first."""
    found: list[int] = []
    try:
        group = os.getpgid(pid)
        above = psutil.Process(pid).ppid()
        # getpgid(0) would be this process's own group
        while above > 0 and os.getpgid(above) == group:
            found.append(above)
            above = psutil.Process(above).ppid()
    except (OSError, psutil.Error):
        pass  # it is gone already, or another user's
    return found
