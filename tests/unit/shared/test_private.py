"""Files for our eyes only: what is followed, whose they may be, and what is said about them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import private

pytestmark = pytest.mark.unit


def test_a_file_is_made_for_us_alone_and_emptied(tmp_path: Path) -> None:
    path = tmp_path / "new"
    before = os.umask(0)
    try:
        os.close(private.open_own(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"old")
    path.chmod(0o644)
    os.close(private.open_own(path))
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize(
    ("make", "why"),
    [(_link, "a link"), (os.mkfifo, "not a regular file"), (Path.mkdir, "Is a directory")],
)
def test_nothing_else_is_written(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    make(tmp_path / "it")
    descriptors = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(OSError, match=why):
        private.open_own(tmp_path / "it")
    assert len(list(Path("/dev/fd").iterdir())) == descriptors
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_the_file_of_another_user_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(b"precious")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(OSError, match=f"belongs to user {owner}"):
        private.open_own(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("make", "why"), [(os.mkfifo, "not a regular file"), (Path.mkdir, "Is a directory")]
)
@pytest.mark.timeout(10)
def test_a_secret_is_read_from_a_file_alone(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "it")
    with pytest.raises(OSError, match=why):
        private.read_secret(tmp_path / "it")


def test_other_users_who_can_read_a_secret_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    for mode, told in ((0o600, ""), (0o400, ""), (0o644, "(mode 0644)"), (0o620, "(mode 0620)")):
        path.chmod(mode)
        text, found = private.read_secret(path)
        assert text == b"secret"
        assert private.exposed(found).endswith(told)
        assert bool(private.exposed(found)) == bool(told)
    monkeypatch.setattr(os, "getuid", lambda: found.st_uid + 1)
    if found.st_uid:
        assert private.exposed(found) == f"belongs to user {found.st_uid}"


def test_a_name_is_shown_only_if_there_is_such_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert private.name_of(path) == ""
    assert private.name_of(Path("sk-" + "x" * 5000)) == ""
    assert private.name_of(Path("sk-\0")) == ""
    path.touch()
    assert private.name_of(path) == f" {path}"


def test_a_file_of_a_person_is_read_only_if_it_is_a_file_of_a_sane_length(tmp_path: Path) -> None:
    good, long, pipe = (tmp_path / name for name in ("good", "long", "pipe"))
    good.write_bytes(b"x" * private.LONGEST_FILE)
    long.write_bytes(b"x" * (private.LONGEST_FILE + 1))
    os.mkfifo(pipe)
    assert private.read_file(good) == good.read_bytes()
    assert private.read_file(Path(os.devnull)) == b""
    for path, why in ((long, "longer than"), (pipe, "regular"), (Path("/dev/zero"), "regular")):
        with pytest.raises(OSError, match=why):
            private.read_file(path)
    with pytest.raises(IsADirectoryError):
        private.read_file(tmp_path)
