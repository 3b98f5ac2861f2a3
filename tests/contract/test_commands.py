"""``bargein COMMAND``: what a command imports before it runs, its help text and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import cli
from shared import config

pytestmark = pytest.mark.contract


def run(*line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "commands", *line],
        cwd=config.ROOT,
        env={**os.environ, "BARGEIN_BUS__DIRECTORY": "/nowhere/bus"},
        capture_output=True,
        text=True,
        check=False,
    )


def imported(done: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """Yield the names of the modules that a process imported, in the order of their ends."""
    for line in done.stderr.splitlines():
        if line.startswith("import time:"):
            yield line.rpartition("|")[2].strip()


def test_the_entry_point_imports_nothing_heavy() -> None:
    """A stage pays for what it uses itself, not for what other commands use."""
    done = run("--help")
    assert done.returncode == 0
    heavy = {"honcho", "numpy", "zmq", "pyaudio", "soundfile", "websocket", "psutil", "asyncio"}
    assert not heavy & set(imported(done))
    found = set(imported(done))
    ours = {name for name in found if name.startswith(("services", "commands."))}
    assert ours <= {"commands.cli", "commands.__main__"}


@pytest.mark.parametrize("name", cli.ROWS)
def test_each_command_has_a_help_text_that_gives_its_name(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: bargein {name}")


def test_a_stage_gets_its_own_arguments_and_its_exit_code_is_passed_on() -> None:
    done = run("vad", "--set", "vad.treshold=1")
    assert done.returncode == 2
    assert "vad.treshold: unknown: did you mean vad.threshold?" in done.stderr


def test_the_launcher_gives_the_stages_what_python_dotenv_reads(tmp_path: Path) -> None:
    show = "import os; print('got', os.environ['ASKED'], os.environ['OTHER'])"
    (tmp_path / "Procfile").write_text(f'show: {sys.executable} -c "{show}"\n')
    (tmp_path / "env").write_text("\ufeffexport ASKED=Don't say#1 please\nOTHER=a#b # c\n")
    done = subprocess.run(
        [sys.executable, "-m", "commands.launcher", "-d", tmp_path, "-e", "env", "--no-prefix"],
        cwd=config.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "got Don't say" in done.stdout, done.stderr
    assert "got Don't say#1 please a#b\n" in done.stdout


def test_no_command_prints_what_a_terminal_obeys() -> None:
    """Each command refuses this option, and most of them print it."""
    odd = "--\x1b]0;title\x07\u202e\x9b2J"
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "commands", name, odd],
            cwd=config.ROOT,
            env={**os.environ, "BARGEIN_BUS__DIRECTORY": "/nowhere/bus"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in (*cli.ROWS, odd)
    }
    printed = {name: one.communicate()[0].decode() for name, one in running.items()}
    for name, text in printed.items():
        assert running[name].returncode != 0, name
        assert text.replace("\n", "").isprintable(), name
    showing = [name for name, text in printed.items() if "title" in text]
    assert len(showing) > len(printed) / 2, printed
