"""``bargein replay``: real stages run again on reference recordings and decide as they did.

``python -m harness.references`` records the references again.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.replay import differences
from commands.replay.__main__ import compare, run
from harness import references
from shared import config, messages, recording
from shared.recording import Recorded, Recording

# The stages compute: on a busy machine that takes longer than the usual limit.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(900)]

IGNORED = frozenset(differences.IGNORED)


def load(name: str, directory: Path) -> tuple[list[Recorded], Recording]:
    about = Recording()
    path = references.unpack(name, directory)
    return sorted(recording.read(path, about), key=lambda each: each.stamp.t), about


def found(stage: list[Recorded], kind: type[messages.Message]) -> list[messages.Message]:
    return [each.message for each in stage if isinstance(each.message, kind)]


@pytest.mark.parametrize("name", references.REFERENCES)
def test_the_stages_decide_as_they_did_when_it_was_recorded(name: str, tmp_path: Path) -> None:
    recorded, about = load(name, tmp_path)
    replayed = run(recorded, about, references.STAGES, speed=0)
    assert compare(recorded, about, replayed, IGNORED) == []
    assert len(found(replayed["playback"], messages.Heard)) > 50
    # This says something only if they decided something.
    assert found(replayed["downlink"], messages.Flush)
    [cut] = found(replayed["uplink"], messages.Interruption)
    assert isinstance(cut, messages.Interruption)
    assert [report.action for report in cut.reports] == ["truncate"]
    assert cut.reports[0].heard_text


def test_the_speed_changes_nothing(tmp_path: Path) -> None:
    recorded, about = load("client-decides", tmp_path)
    # The last seconds: it takes 18 s at its own speed.
    fast = run(recorded, about, references.STAGES, speed=0)
    paced = run(recorded, about, references.STAGES, speed=20)
    assert fast == paced


@pytest.mark.parametrize(
    ("stage", "module", "line", "broken", "named"),
    [
        ("downlink", "replies.py", "generation += 1", "generation += 2",
         ["flush: message 1 generation: recorded", "reply.audio: message "]),
        ("uplink", "requests.py", "        audio_end_ms=audio_end_ms,",
         "        audio_end_ms=audio_end_ms - 7,",
         ["payload.audio_end_ms: recorded ", "client.event: message "]),
        ("playback", "output.py", "chunk.track.playhead = chunk.start",
         "chunk.track.playhead = chunk.start + 480",
         ["report.flush: message 1 items[0].heard: recorded", "heard: message "]),
    ],
)  # fmt: skip
def test_a_stage_that_decides_otherwise_is_found_out(
    tmp_path: Path, stage: str, module: str, line: str, broken: str, named: list[str]
) -> None:
    root = tmp_path / "checkout"
    for name in ("services", "shared", "commands"):
        shutil.copytree(config.ROOT / name, root / name, ignore=shutil.ignore_patterns("*.opus"))
    source = root / "services" / stage / module
    text = source.read_text("utf-8")
    assert text.count(line) == 1
    source.write_text(text.replace(line, broken), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "commands", "replay", "--stages", stage,
         str(references.unpack("client-decides", tmp_path))],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for text in named:
        assert text in done.stdout


@pytest.mark.parametrize("stage", ["downlink", "uplink", "playback", "vad", "echo"])
def test_a_stage_that_is_replayed_reads_the_replayed_clocks_only(stage: str) -> None:
    for path in (config.ROOT / "services" / stage).glob("*.py"):
        if path.name == "browser.py":
            continue  # a page in a browser is not replayed
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"time", "datetime"} & set(names), f"{path}: use shared/now.py"


def test_the_references_are_small() -> None:
    sizes = [path.stat().st_size for path in references.DIRECTORY.iterdir()]
    assert len(sizes) == len(references.REFERENCES)
    assert sum(sizes) < 200_000
