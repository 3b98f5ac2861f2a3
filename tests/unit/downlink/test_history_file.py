"""The file from which a restarted downlink reads the conversation."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from services.downlink import history_file
from services.downlink.history_file import HistoryFile, Saved
from shared import messages

pytestmark = pytest.mark.unit

TURN = messages.HistoryTurn(
    item_id="a", kind="message", role="user", text="Yes?", session=7, known_as="a", new_id="n"
)


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    assert HistoryFile(tmp_path, keep=True).read() is None
    HistoryFile(tmp_path, keep=True).write(6, [])
    HistoryFile(tmp_path, keep=True).write(7, [TURN])
    assert HistoryFile(tmp_path, keep=True).read() == Saved(7, [TURN])


def test_only_its_owner_can_read_the_file_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    HistoryFile(tmp_path, keep=True).write(7, [TURN])
    [path] = tmp_path.iterdir()
    assert path.name == history_file.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_half_written_file_of_a_process_that_died_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "history.part").write_bytes(b'{"ses')
    HistoryFile(tmp_path, keep=True).write(7, [TURN])
    assert HistoryFile(tmp_path, keep=True).read() == Saved(7, [TURN])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"session": 7}',
        b'{"session": "7", "turns": []}',
        b'{"session": 7, "turns": [{"item_id": "a"}]}',
        b'{"session": 7, "turns": []}\xff',
        b"[" * 100_000,
        json.dumps({"session": 7, "turns": [], "x": "x" * history_file.MAX_BYTES}).encode(),
    ],
    ids=range(8),
)
def test_a_file_that_is_not_one_of_ours_is_removed(tmp_path: Path, text: bytes) -> None:
    (tmp_path / history_file.NAME).write_bytes(text)
    assert HistoryFile(tmp_path, keep=True).read() is None
    assert list(tmp_path.iterdir()) == []


def test_a_history_file_is_removed_if_keep_is_off(tmp_path: Path) -> None:
    HistoryFile(tmp_path, keep=True).write(7, [TURN])
    assert HistoryFile(tmp_path, keep=False).read() is None
    HistoryFile(tmp_path, keep=False).write(7, [TURN])
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_is_an_error_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        HistoryFile(tmp_path / "gone", keep=True).write(7, [TURN])
