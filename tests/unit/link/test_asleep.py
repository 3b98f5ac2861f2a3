"""link's memory of the sleep: it outlives a crash of link, and not the end of the conversation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.link.asleep import NAME, Asleep
from shared import messages
from shared.lock import take_lock
from shared.network import Network

IDLE = messages.Sleep(asleep=True, cause="idle", reason="nobody spoke: speak to wake it")
AWAKE = messages.Sleep(asleep=False)


def test_a_conversation_begins_awake(tmp_path: Path) -> None:
    asleep = Asleep(tmp_path)
    assert not asleep.cause
    assert not asleep.follow(AWAKE)


def test_another_link_goes_on_sleeping(tmp_path: Path) -> None:
    assert Asleep(tmp_path).follow(IDLE)
    another = Asleep(tmp_path)
    assert (another.cause, another.reason) == ("idle", IDLE.reason)
    assert not another.follow(IDLE)
    assert another.follow(AWAKE)
    assert not Asleep(tmp_path).cause
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    Asleep(tmp_path).follow(IDLE)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_downlink_on_another_machine_is_asked_first(tmp_path: Path) -> None:
    away = Network({"downlink": "tcp://10.0.0.2:27312"})
    link = Asleep(tmp_path, away)
    assert link.unknown
    # Awake: link connects. The repetitions are no news.
    assert link.follow(AWAKE)
    assert not link.follow(AWAKE)
    link = Asleep(tmp_path, away)
    assert link.follow(IDLE)
    assert (link.cause, link.unknown) == ("idle", False)
    # A link that knows by itself needs no answer.
    assert not Asleep(tmp_path, away).unknown
    assert not Asleep(tmp_path).unknown


def test_a_downlink_that_runs_here_is_not_asked(tmp_path: Path) -> None:
    downlink = take_lock("downlink", tmp_path)
    assert not Asleep(tmp_path, Network({"downlink": "tcp://10.0.0.2:27312"})).unknown
    os.close(downlink)


def test_a_file_that_is_not_ours_means_awake(tmp_path: Path) -> None:
    for text in (b"", b"{}", b'{"cause":"bored","reason":""}', b"\xff" * 20_000):
        (tmp_path / NAME).write_bytes(text)
        assert not Asleep(tmp_path).cause


def test_a_link_that_alone_was_asked_to_end_goes_on_sleeping(tmp_path: Path) -> None:
    downlink = take_lock("downlink", tmp_path)
    asleep = Asleep(tmp_path)
    asleep.follow(IDLE)
    asleep.end()
    another = Asleep(tmp_path)
    assert (another.cause, another.reason) == ("idle", IDLE.reason)
    os.close(downlink)


def test_the_next_conversation_begins_awake(tmp_path: Path) -> None:
    downlink = take_lock("downlink", tmp_path)
    os.utime(tmp_path / "downlink.lock", (1, 1))  # it took the lock long ago
    asleep = Asleep(tmp_path)
    asleep.follow(IDLE)
    asleep.end()
    os.close(downlink)
    # Its downlink may have the same pid, as this one has.
    downlink = take_lock("downlink", tmp_path)
    assert not Asleep(tmp_path).cause
    assert not (tmp_path / NAME).exists()
    os.close(downlink)


@pytest.mark.parametrize("downlink_ends_first", [True, False])
def test_a_sleep_ends_with_the_conversation(tmp_path: Path, *, downlink_ends_first: bool) -> None:
    downlink = take_lock("downlink", tmp_path)
    asleep = Asleep(tmp_path)
    asleep.follow(IDLE)
    if downlink_ends_first:
        os.close(downlink)
    asleep.end()
    if not downlink_ends_first:
        os.close(downlink)
    assert not Asleep(tmp_path).cause
