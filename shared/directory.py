"""The bus directory: where it is, and whether it is safe to use."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from shared import registry

#: The longest path of a socket, bytes: macOS allows 104 with the final zero byte, Linux 108.
MAX_PATH = 103


class BusError(Exception):
    """Raised when the bus cannot be used: its directory is unsafe, or an endpoint cannot be
    bound.
    """


def default_directory() -> Path:
    """Return ``bargein`` in the user's runtime directory, or a directory in the temporary one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # The XDG specification says to ignore a relative path. Each stage would find another place.
    if Path(runtime).is_absolute():
        return Path(runtime) / "bargein"
    return Path(tempfile.gettempdir()) / f"bargein-{os.getuid()}"


def prepare_directory(directory: Path) -> Path:
    """Make the bus directory with mode 0700, or check that the existing one is ours alone.

    Return the directory. Raises BusError if it is a link, belongs to another user, is open to
    others, can be replaced by others, or has a path that is too long for a socket.
    """
    longest = max(len(t.endpoint) for t in registry.TOPICS) + len("/.ipc")
    if len(os.fsencode(str(directory))) + longest > MAX_PATH:
        raise BusError(
            f"bus directory {directory}: the path is too long for a socket"
            f" (at most {MAX_PATH - longest} bytes): set bus.directory to a shorter one"
        )
    try:
        for above in reversed(directory.parents):
            if not above.exists():
                above.mkdir(mode=0o700, exist_ok=True)
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass  # checked below
        found = directory.lstat()
    except OSError as error:
        raise BusError(
            f"bus directory {directory}: {error.strerror}:"
            " set bus.directory to one you can write to"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise BusError(
            f"bus directory {directory}: not a directory: remove it or set bus.directory"
        )
    if found.st_uid != os.getuid():
        raise BusError(
            f"bus directory {directory}: belongs to user {found.st_uid}, who could listen in:"
            " set bus.directory to one of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise BusError(
            f"bus directory {directory}: open to other users (mode"
            f" {stat.S_IMODE(found.st_mode):04o}): run chmod 700 {directory}"
        )
    for above in directory.resolve().parents:
        mode = above.stat().st_mode
        # In a directory with the sticky bit, such as /tmp, only we can rename our directory.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise BusError(
                f"bus directory {directory}: anyone could put another in its place, since all can"
                f" write to {above}: run chmod o-w {above} or set bus.directory to another"
            )
    return directory
