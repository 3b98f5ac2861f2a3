"""Starts stages without a new interpreter: a stage's imports cost more than the stage itself.

The tests start this program once. It imports the modules of a stage when that stage is asked for
first, and forks a process for each request. That process runs the very module that ``python -m``
runs, with its own arguments, environment, directory, output and session.

Three things differ from ``python -m``. In /proc, the process has the command line and the
environment of this program. Its parent is this program, which ends with the tests. Its memory
includes the modules of the other stages. A test of any of these starts the command itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast


class Forked:
    """A process that the fork server started, with the part of Popen that the tests use."""

    def __init__(self, argv: Sequence[str], stdout: IO[bytes] | None, status: int) -> None:
        self.args = list(argv)
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = os.fdopen(status, "rb", buffering=0)
        self._lock = threading.Lock()
        first = self._status.readline()
        if not first:
            raise ChildProcessError("the fork server has ended")
        self.pid = int(first)

    def poll(self) -> int | None:
        """Return the exit code, which is negative for a signal, or None while the process runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Return the exit code. Raises subprocess.TimeoutExpired."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
                line = self._status.readline()
                self._status.close()
                if not line:
                    raise ChildProcessError("the fork server has ended")
                self.returncode = int(line)
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The program of this module, as the tests see it."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=root,
                env=dict(env),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, module: str, arguments: Sequence[str], env: Mapping[str, str]) -> Forked:
        """Start ``python -u -m module``. Its output and its errors are one stream."""
        output, their_output = os.pipe()
        try:
            status = self._request(module, arguments, env, their_output)
        finally:
            os.close(their_output)
        return Forked(["-m", module, *arguments], os.fdopen(output, "rb"), status)

    def popen(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[bytes] | int,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a program as Popen does; fork it if it is ``python -m`` without other options.

        Its output and its errors are one stream: a file, or subprocess.DEVNULL.
        """
        python, option, *words = (word for word in (*command, "") if word != "-u")
        if [python, option] != [sys.executable, "-m"]:
            return subprocess.Popen(command, env=env, stdout=stdout, **options)
        module, *arguments = words[:-1]
        with Path(os.devnull).open("wb") as nowhere:
            file = nowhere if isinstance(stdout, int) else stdout
            status = self._request(module, arguments, env, file.fileno())
        return cast("subprocess.Popen[bytes]", Forked(command, None, status))

    def _request(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], output: int
    ) -> int:
        """Send a request. Return the descriptor from which the pid and the exit code are read."""
        request = json.dumps([module, list(arguments), dict(env)]).encode() + b"\n"
        status, theirs = os.pipe()
        try:
            with self._lock:
                sent = socket.send_fds(self._socket, [request], [output, theirs])
                self._socket.sendall(request[sent:])
        finally:
            os.close(theirs)
        return status

    def close(self) -> None:
        """End the program."""
        self._socket.close()
        self._process.wait()


def _take_request(requests: socket.socket) -> tuple[bytes, list[int]] | None:
    """Return a request and its two descriptors, or None when the tests have ended."""
    request, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 2)
    while request and not request.endswith(b"\n"):
        request += requests.recv(1 << 16)
    return (request, descriptors) if request else None


def _import(module: str) -> None:
    """Import what ``python -m module`` imports."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        module += ".__main__"
    # The error of a module that can't be imported is in the output of the process.
    with contextlib.suppress(Exception):
        importlib.import_module(module)
    # The process itself runs the module.
    sys.modules.pop(module, None)
    # The collector would write to the memory that all processes share.
    gc.collect()
    gc.freeze()


def _report_ended(statuses: dict[int, int]) -> None:
    """Write the exit code of each process that has ended. ``statuses``: descriptors, by pid."""
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = statuses.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(descriptor)


def serve(requests: socket.socket) -> str:
    """Fork a process for each request. Return the name of the module that such a process runs.

    Raises SystemExit when the tests have ended.
    """
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    known: set[str] = set()
    statuses: dict[int, int] = {}
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _report_ended(statuses)
        if requests not in ready:
            continue
        taken = _take_request(requests)
        if taken is None:
            raise SystemExit(0)
        request, (output, status) = taken
        module, arguments, env = json.loads(request)
        if module not in known:
            _import(module)
            known.add(module)
        pid = os.fork()
        if pid:
            os.close(output)
            statuses[pid] = status
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.write(status, b"%d\n" % os.getpid())
        for descriptor in (output, status, *statuses.values()):
            os.close(descriptor)
        for each in (requests, woken, waker):
            each.close()
        os.environ.clear()
        os.environ.update(env)
        sys.argv = [module, *arguments]
        return str(module)


if __name__ == "__main__":
    # The process of a request leaves the fork server's functions before it runs its module.
    runpy.run_module(
        serve(socket.socket(fileno=int(sys.argv[1]))), run_name="__main__", alter_sys=True
    )
