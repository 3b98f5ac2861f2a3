"""Opens files safely: keys, settings, and the files that Bargein writes about a conversation."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: The most bytes of a secret that are read: the longest key is shorter.
LONGEST_SECRET = 4096
#: The most bytes of a file that a person writes: a hundred times the longest example.
LONGEST_FILE = 1024 * 1024


def open_own(path: Path) -> int:
    """Create or empty a file that only its owner can read; return its descriptor.

    Raises OSError if the path is a link, or leads to another user's file or to no regular file: in
    a directory where others can write, one of them may have put it there.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path)) from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if found.st_uid != os.getuid():
            raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}", str(path))
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def replace_own(path: Path, content: bytes) -> None:
    """Replace a file at once, so that it is never half written. Only its owner can read it.

    Raises OSError.
    """
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)


def read_file(path: Path, longest: int = LONGEST_FILE) -> bytes:
    """Return the content of a file that a person or Bargein wrote, of at most ``longest`` bytes.

    Raises OSError, also if the file is longer or no regular file. Never waits for a pipe's writer.
    The null device counts as an empty file.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        content = file.read(longest + 1)
    if len(content) > longest:
        raise OSError(errno.EFBIG, f"longer than {longest} bytes", str(path))
    return content


def read_secret(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the beginning of a file, and what the system says about the file.

    Raises OSError, also if the path leads to no regular file. Never waits for a pipe's writer.
    """
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LONGEST_SECRET), os.fstat(descriptor)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, or the null device; return its descriptor. Raises OSError.

    A pipe would make the caller wait for its other end, and a device can be endless.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def name_of(path: Path) -> str:
    """Return a blank and the name of a secret's file, or "" if there is no such file.

    Somebody may have put the secret itself where the file's name belongs.
    """
    return f" {path}" if os.path.lexists(path) else ""


def exposed(found: os.stat_result) -> str:
    """Return who else can read or change a secret's file; "" if nobody can."""
    if found.st_uid not in (os.getuid(), 0):
        return f"belongs to user {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    return f"others can read it (mode {mode:04o})" if mode & 0o077 else ""
