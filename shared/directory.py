"""The bus directory: where it is, and whether it is safe to use. And the user's state directory."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from shared import registry
from shared.redaction import Refusal

#: The longest path of a socket, bytes: macOS allows 104 with the final zero byte, Linux 108.
MAX_PATH = 103
#: ``/proc/self/uid_map`` where every user has its own number.
_ALL = ["0", "0", "4294967295"]


class BusError(Refusal):
    """Raised when the bus cannot be used: its directory is unsafe, or an endpoint cannot be
    bound.
    """


def state_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory for files that outlive a reboot, which empties many bus directories.

    A user without a home directory, as in a container, has the default bus directory instead.
    """
    state = environment.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    except RuntimeError:
        return default().directory
    return base / "bargein"


@dataclass(frozen=True)
class Default:
    """The bus directory where no setting names one."""

    directory: Path
    #: Why it is not the one in $XDG_RUNTIME_DIR, and the command that repairs that; "" if it is,
    #: or if there is no such variable.
    note: str = ""


def default() -> Default:
    """Return ``bargein`` in the user's runtime directory, or a directory in the temporary one.

    The second one is used if the first one is not safe or cannot be used, as after ``su`` or
    ``sudo``, which leave the variable of another user.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    second = Path(tempfile.gettempdir()) / f"bargein-{os.getuid()}"
    if not runtime:
        return Default(second)
    first = Path(runtime) / "bargein"
    why = _runtime_fault(Path(runtime)) or _fault(first)
    if not why:
        return Default(first)
    if first.is_absolute() and _fault(second):
        return Default(first)  # prepare_directory reports why it cannot be used
    return Default(second, f"bus directory {first}: {why}. Until then, {second} is used")


def prepare_directory(directory: Path) -> Path:
    """Make the bus directory with mode 0700, or check that the existing one is ours alone.

    Return the directory. Raises BusError if it is a link, belongs to another user, is open to
    others, can be replaced by others, or has a path that is too long for a socket.
    """
    if too_long := _too_long(directory):
        raise BusError(f"bus directory {directory}: {too_long}")
    try:
        for above in reversed(directory.parents):
            if not above.exists():
                above.mkdir(mode=0o700, exist_ok=True)
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass  # checked below
        fault = _fault(directory)
    except OSError as error:
        raise BusError(
            f"bus directory {directory}: {error.strerror}:"
            " set bus.directory to one you can write to"
        ) from None
    if fault:
        raise BusError(f"bus directory {directory}: {fault}")
    return directory


def check_room(directory: Path) -> None:
    """Raise BusError if nothing can be written to the bus directory: its file system is full."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as probe:
            probe.write(b"0")
    except OSError as error:
        raise unwritable(directory, error) from None


def unwritable(path: Path, error: OSError) -> BusError:
    """Return the error to raise if a file of the bus cannot be written."""
    return BusError(
        f"{path}: {error.strerror}: make room there, or set bus.directory to another directory"
    )


def _runtime_fault(runtime: Path) -> str:
    """Return why the user's runtime directory cannot hold the bus, and the repair; else ""."""
    own = Path(f"/run/user/{os.getuid()}")
    repair = "unset XDG_RUNTIME_DIR"
    if own != runtime and own.is_dir() and own.stat().st_uid == os.getuid():
        repair = f"export XDG_RUNTIME_DIR={own}"
    # The XDG specification says to ignore a relative path. Each stage would find another place.
    if not runtime.is_absolute():
        return f"XDG_RUNTIME_DIR is no absolute path: run '{repair}'"
    try:
        found = runtime.stat()
    except OSError as error:
        return f"XDG_RUNTIME_DIR: {error.strerror}: run '{repair}'"
    if found.st_uid != os.getuid():
        return f"XDG_RUNTIME_DIR belongs to user {found.st_uid}: run '{repair}'"
    if not stat.S_ISDIR(found.st_mode) or not os.access(runtime, os.W_OK | os.X_OK):
        return f"XDG_RUNTIME_DIR cannot be written to: run '{repair}'"
    if _too_long(runtime / "bargein"):
        return f"XDG_RUNTIME_DIR is too long for a socket's path: run '{repair}'"
    return ""


def _too_long(directory: Path) -> str:
    longest = max(len(t.endpoint) for t in registry.TOPICS) + len("/.ipc")
    if len(os.fsencode(str(directory))) + longest <= MAX_PATH:
        return ""
    return (
        f"the path is too long for a socket (at most {MAX_PATH - longest} bytes):"
        " set bus.directory to a shorter one"
    )


def _fault(directory: Path) -> str:
    """Return why a bus directory is not safe, and the repair; "" if it is, or is not there yet."""
    try:
        return _own_fault(directory) or _fault_above(directory)
    except OSError as error:
        return f"{error.strerror}: set bus.directory to one you can write to"


def _own_fault(directory: Path) -> str:
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return ""
    if not stat.S_ISDIR(found.st_mode):
        return "not a directory: remove it or set bus.directory"
    if found.st_uid != os.getuid():
        # A run with sudo leaves a directory of root's.
        repair = f"run 'sudo rm -r {quote(str(directory))}' or " if found.st_uid == 0 else ""
        return (
            f"belongs to user {found.st_uid}, who could listen in:"
            f" {repair}set bus.directory to one of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        return (
            f"open to other users (mode {stat.S_IMODE(found.st_mode):04o}):"
            f" run 'chmod 700 {quote(str(directory))}'"
        )
    return ""


def _fault_above(directory: Path) -> str:
    for above in directory.resolve().parents:
        if not above.exists():
            continue
        found = above.stat()
        replace = "could put another in its place, "
        if not _is_trusted(found.st_uid):
            return (
                f"user {found.st_uid} {replace}since {above} is theirs:"
                " set bus.directory to another"
            )
        # In a directory with the sticky bit, such as /tmp, only we can rename our directory.
        if found.st_mode & stat.S_ISVTX:
            continue
        if found.st_mode & stat.S_IWOTH:
            return (
                f"anyone {replace}since all can write to {above}:"
                f" run 'chmod o-w {quote(str(above))}', or set bus.directory to another"
            )
        if found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid):
            return (
                f"group {found.st_gid} {replace}since it can write to {above}:"
                f" run 'chmod g-w {quote(str(above))}', or set bus.directory to another"
            )
    return ""


def _is_trusted(user: int) -> bool:
    """Return whether a user is this one or root, or root outside of a container."""
    if user in (os.getuid(), 0):
        return True
    try:
        # In a user namespace, all users of the outside have this number.
        unknown = int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
        return user == unknown and Path("/proc/self/uid_map").read_text("ascii").split() != _ALL
    except OSError:
        return False


def _is_own_group(group: int) -> bool:
    """Return whether nobody but this user and root is in a group, as in a user's private group."""
    try:
        me = pwd.getpwuid(os.getuid()).pw_name
        found = grp.getgrgid(group)
    except KeyError:
        return False
    return group == 0 or (found.gr_name == me and set(found.gr_mem) <= {me, "root"})
