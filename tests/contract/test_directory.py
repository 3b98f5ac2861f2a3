"""The bus directory: made for its user alone, or refused."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import shared.directory
from commands import keys, preflight
from commands.doctor.__main__ import secrets
from shared import bus, config, registry
from shared.directory import (
    MAX_PATH,
    BusError,
    Default,
    default,
    prepare_directory,
    state_directory,
)
from tests.support.wires import Wires

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("deep", [0, 1])
def test_one_that_anybody_could_replace_is_refused(place: Path, deep: int) -> None:
    above = place.parent if deep == 0 else place
    (place / "bus").mkdir(parents=True, mode=0o700)
    before = above.stat().st_mode
    directory = place if deep == 0 else place / "bus"
    directory.chmod(0o700)
    above.chmod(0o777)
    try:
        said = refusal(directory)
        assert f"anyone could put another in its place, since all can write to {above}" in said
        # As in /tmp: everybody can write, but can only rename their own files.
        above.chmod(0o1777)
        assert prepare_directory(directory) == directory
    finally:
        above.chmod(before)


def test_one_that_a_group_could_replace_is_refused(place: Path) -> None:
    directory = place / "above" / "bus"
    directory.mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)
    # Only a group of several people counts: a private group has the name of its user.
    os.chown(directory.parent, -1, grp.getgrnam("users").gr_gid) if os.getuid() == 0 else None
    group = directory.parent.stat().st_gid
    directory.parent.chmod(0o775)
    if os.getuid() == 0 or grp.getgrgid(group).gr_name != getpass.getuser():
        said = refusal(directory)
        assert f"group {group} could put another in its place" in said
        assert f"run 'chmod g-w {directory.parent}'" in said
    directory.parent.chmod(0o1775)
    assert prepare_directory(directory) == directory


@pytest.mark.parametrize(("opened", "mode"), [("bus", 0o755), (".", 0o777)])
def test_the_command_of_a_refusal_repairs_the_directory(
    place: Path, opened: str, mode: int
) -> None:
    above = place / "with a blank"
    directory = above / "bus"
    directory.mkdir(parents=True)
    above.chmod(0o700)
    directory.chmod(0o700)
    (above / opened).chmod(mode)
    found = re.search(r"run '(.*?)'(, or |$)", refusal(directory))
    assert found
    subprocess.run(found[1], shell=True, check=True)
    assert prepare_directory(directory) == directory


@pytest.mark.parametrize(
    ("name", "members", "own"),
    [
        ("ada", [], True),
        ("ada", ["ada", "root"], True),
        ("ada", ["bob"], False),
        ("users", [], False),
        ("users", ["ada"], False),
    ],
)
def test_only_a_private_group_is_nobody_else(
    name: str, members: list[str], own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.struct_passwd(("ada", "x", 1000, 1000, "", "/", ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "x", gid, members)))
    assert shared.directory._is_own_group(1000) == own
    assert shared.directory._is_own_group(0)


def test_one_below_the_directory_of_another_user_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a directory away")
    directory = place / "above" / "bus"
    directory.mkdir(parents=True, mode=0o700)
    os.chown(directory.parent, 12345, -1)
    assert f"user 12345 could put another in its place, since {directory.parent}" in refusal(
        directory
    )


@pytest.fixture(name="place")
def _place(wires: Wires) -> Path:
    return wires.directory / "place"


def refusal(directory: Path) -> str:
    with pytest.raises(BusError) as caught:
        prepare_directory(directory)
    said = str(caught.value)
    assert said.isprintable()  # in one line
    assert said.startswith(f"bus directory {directory}: ")
    return said


def test_the_directory_is_made_for_oneself_alone(place: Path) -> None:
    before = os.umask(0)
    try:
        assert prepare_directory(place / "deep") == place / "deep"
    finally:
        os.umask(before)
    assert (place / "deep").stat().st_mode & 0o777 == 0o700
    assert prepare_directory(place / "deep") == place / "deep"


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
def test_one_that_is_open_to_others_is_refused(place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)
    assert f"open to other users (mode {mode:04o}): run 'chmod 700 {place}'" in refusal(place)


def test_one_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir(mode=0o700)
    owner = place.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert f"belongs to user {owner}" in refusal(place)


def test_a_link_is_refused(place: Path) -> None:
    (place.parent / "target").mkdir(mode=0o700)
    place.symlink_to(place.parent / "target")
    assert "not a directory: remove it or set bus.directory" in refusal(place)


def test_a_link_to_nowhere_is_refused(place: Path) -> None:
    place.symlink_to(place.parent / "nowhere")
    assert "not a directory: remove it or set bus.directory" in refusal(place)
    assert not (place.parent / "nowhere").exists()


def test_a_file_is_refused(place: Path) -> None:
    place.touch()
    assert "not a directory: remove it or set bus.directory" in refusal(place)


def test_one_that_cannot_be_made_is_refused(place: Path) -> None:
    place.touch()
    assert "set bus.directory to one you can write to" in refusal(place / "below")


def test_a_path_too_long_for_a_socket_is_refused(place: Path) -> None:
    longest = max(len(topic.endpoint) for topic in registry.TOPICS) + len("/.ipc")
    room = MAX_PATH - longest - len(os.fsencode(place))
    fits = place.with_name(place.name + "x" * room)
    said = refusal(place.with_name(fits.name + "x"))
    assert f"at most {MAX_PATH - longest} bytes" in said
    # The limit is in bytes: é takes two.
    refusal(fits.with_name(fits.name[:-1] + "é"))
    assert not fits.exists()
    prepare_directory(fits)
    # Sockets can really be bound there.
    for stage in registry.STAGES:
        bus.Publisher(stage, fits).close()


# the default, and what preflight says about it


@pytest.fixture(name="second")
def _second(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the default directory without a runtime directory; it is not there yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(wires.directory))
    monkeypatch.delenv("BARGEIN_BUS__DIRECTORY", raising=False)
    monkeypatch.setenv("BARGEIN_LINK__AUTH", "none")
    monkeypatch.chdir(wires.directory)  # without a file .env
    return wires.directory / f"bargein-{os.getuid()}"


def test_without_a_runtime_directory_it_is_in_the_temporary_one(
    second: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert default() == Default(second)
    assert preflight.check([]) == 0
    assert capsys.readouterr().err == ""
    assert second.is_dir()


def test_it_is_in_the_runtime_directory(
    second: Path, wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(wires.directory))
    assert default() == Default(wires.directory / "bargein")


def foreign(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)


def left_by_sudo(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    foreign(runtime / "bargein")


def open_to_all(runtime: Path) -> None:
    (runtime / "bargein").mkdir(mode=0o700, parents=True)
    runtime.chmod(0o777)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: None, "XDG_RUNTIME_DIR: No such file or directory: run 'unset XDG_RUNTIME_DIR'"),
        (Path.touch, "XDG_RUNTIME_DIR cannot be written to: run 'unset XDG_RUNTIME_DIR'"),
        (foreign, "XDG_RUNTIME_DIR belongs to user 12345: run 'unset XDG_RUNTIME_DIR'"),
        (left_by_sudo, "belongs to user 12345, who could listen in"),
        (open_to_all, "anyone could put another in its place"),
    ],
    ids=["missing", "a file", "foreign", "left by sudo", "open"],
)
def test_an_unusable_runtime_directory_is_replaced_and_reported_once(
    second: Path,
    wires: Wires,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    why: str,
) -> None:
    if os.getuid() and make in (foreign, left_by_sudo):
        pytest.skip("only root can make a directory of another user")
    runtime = wires.directory / "run"
    make(runtime)
    before = os.umask(0o077)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        assert default().directory == second
        assert preflight.check([]) == 0
    finally:
        os.umask(before)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bargein: bus directory {runtime}/bargein: ")
    assert why in line
    assert line.endswith(f". Until then, {second} is used")


@pytest.mark.parametrize("runtime", ["run", "/tmp/" + 90 * "x"])
def test_a_path_that_cannot_hold_a_socket_is_replaced(
    second: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    if runtime.startswith("/"):
        Path(runtime).mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    try:
        assert default().directory == second
        assert "XDG_RUNTIME_DIR is " in default().note
    finally:
        if runtime.startswith("/"):
            Path(runtime).rmdir()


def test_two_unsafe_directories_are_refused_in_one_line(
    second: Path,
    wires: Wires,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(wires.directory))
    for directory in (second, wires.directory / "bargein"):
        directory.touch()
    assert preflight.check([]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "not a directory: remove it or set bus.directory" in line


@pytest.mark.parametrize("command", ["preflight", "vad"])
def test_a_full_file_system_is_one_line(second: Path, command: str) -> None:
    # With this limit, a write to a file fails as on a full file system.
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 0; exec '{sys.executable}' -m commands {command}"],
        cwd=config.ROOT,
        env={**os.environ, "BARGEIN_BUS__DIRECTORY": str(second)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    assert f"{second}" in line
    assert "File too large: make room there, or set bus.directory to another directory" in line


def getpwuid_of_nobody(user: int) -> NoReturn:
    raise KeyError(user)


def test_a_user_without_a_home_has_a_state_directory_and_is_told_where_a_key_cannot_be(
    monkeypatch: pytest.MonkeyPatch, second: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid_of_nobody)
    assert state_directory({}) == second
    monkeypatch.setattr(sys, "argv", ["bargein keys"])
    assert keys.main() == 1
    assert "no such home directory: name another file" in capsys.readouterr().err
    assert "" in secrets(config.Config(), None)


def test_the_state_directory_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/you")
    assert state_directory({"XDG_STATE_HOME": "/state"}) == Path("/state/bargein")
    for relative in ({}, {"XDG_STATE_HOME": "state"}):
        assert state_directory(relative) == Path("/home/you/.local/state/bargein")
