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
import signal
import sys

import psutil

#: honcho sets this variable for each process that it starts.
HONCHO_VARIABLE = "HONCHO_PROCESS_NAME"
#: Names of the processes whose children are meant to run without a window.
INITS = frozenset({"systemd", "init", "launchd"})
#: The kernel sends this signal when the thread that started this process has ended. That thread's
#: process may live on, so the signal only asks for a look.
LOOK = signal.SIGUSR2
#: The processes above are looked at this often, s: the longest that a stage outlives its window
#: where the kernel does not signal the end of the parent.
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
    # POSIX: a shell without job control (a script) lets what it starts with "&" ignore SIGINT.
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


def stays() -> bool:
    """Return whether this process was started to stay when its parent is gone.

    To be called before this process sets handlers for signals.
    """
    if HONCHO_VARIABLE in os.environ:
        return False
    return ignored(signal.SIGHUP) or in_background() or _is_init(os.getppid())


def is_service() -> bool:
    """Return whether systemd or another init started this process, and no terminal belongs to it.

    To be called before this process sets handlers for signals.
    """
    return HONCHO_VARIABLE not in os.environ and _is_init(os.getppid())


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


def to_watch() -> Parent | None:
    """Return the processes above this one, or None if this one was started to stay.

    To be called before this process sets handlers for signals.
    """
    return None if stays() else Parent()


class Parent:
    """The processes above this one, as they were when the object was made.

    They are the parent and, if that one runs in its own parent's process group, the grandparent:
    honcho has one process of its own between itself and each stage.
    """

    def __init__(self) -> None:
        self.pid = os.getppid()
        self._grandparent = 0  # pid; 0: not watched
        try:
            above = psutil.Process(self.pid).ppid()
            self._grandparent = above if _same_group(self.pid, above) else 0
        except psutil.Error:
            pass  # it is gone already, or not ours to look at
        # honcho was killed before this process could look
        self._orphaned = HONCHO_VARIABLE in os.environ and _is_init(self.pid)
        self._stopped = False  # in the last call of lost()

    def lost(self) -> str:
        """Return why this process has to end, or "" if it may go on.

        Return a reason if the parent or grandparent is gone, or if one of them was stopped in two
        calls in a row (Ctrl-Z; in one call it may be about to stop this process as well).
        """
        gone = f"the process that started it (pid {self.pid}) is gone"
        if os.getppid() != self.pid or self._orphaned:
            return gone
        try:
            parent = psutil.Process(self.pid)
            watched = [parent]
            if self._grandparent:
                if parent.ppid() != self._grandparent:
                    return f"the process that started it (pid {self._grandparent}) is gone"
                watched.append(psutil.Process(self._grandparent))
            stopped = any(each.status() == psutil.STATUS_STOPPED for each in watched)
        except psutil.NoSuchProcess:
            return gone
        except psutil.Error:
            return ""  # it is not ours to look at, but it is there
        again, self._stopped = self._stopped and stopped, stopped
        return "the process that started it is stopped" if again else ""


def _same_group(pid: int, other: int) -> bool:
    try:
        # getpgid(0) would be this process's own group
        return other > 0 and os.getpgid(pid) == os.getpgid(other)
    except OSError:
        return False
