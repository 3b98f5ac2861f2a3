"""The bus directory: made for its user alone, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared import bus, registry
from shared.directory import MAX_PATH, BusError, prepare_directory
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
    assert f"open to other users (mode {mode:04o}): run chmod 700 {place}" in refusal(place)


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
