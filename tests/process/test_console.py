"""``bargein console`` in tmux: typed into, read back, resized; and ``--plain`` beside it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from shared import messages
from tests.support import keeper
from tests.support.pipeline import PATIENCE_S, ROOT, Keeper, Pipeline, settled, survivors

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


class Tmux:
    """A tmux server of its own, with one window in which a command runs."""

    def __init__(self, place: Path, env: dict[str, str], command: str) -> None:
        self._socket = place / "tmux"
        self._env = env
        self.run("-f", os.devnull, "new-session", "-d", "-x", "80", "-y", "24", command)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *arguments],
            env=self._env,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    @property
    def screen(self) -> list[str]:
        return self.run("capture-pane", "-p").splitlines()

    def wait(self, pattern: str) -> str:
        """Wait until the screen shows a pattern; return the screen as one line."""
        found: list[str] = []

        def shows() -> bool:
            found[:] = [" ".join(" ".join(self.screen).split())]
            return re.search(pattern, found[0]) is not None

        assert settled(shows, PATIENCE_S), f"{pattern!r} is not on the screen:\n{found[0]}"
        return found[0]


@pytest.fixture(name="console")
def _console(pipeline: Pipeline, kept: Keeper, tmp_path: Path) -> Iterator[Tmux]:
    token = kept.next_token()
    env = {**pipeline.env, **pipeline.environment({}), keeper.VARIABLE: token}
    start = pipeline.run(sys.executable, "-u", "-m", "commands", "start", "--emulator", env=env)
    start.codes = {128 + signal.SIGTERM}
    env |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    tmux = Tmux(tmp_path, env, shlex.join([sys.executable, "-m", "commands", "console"]))
    yield tmux
    tmux.run("kill-server")
    start.send(signal.SIGTERM)
    assert start.wait() == 128 + signal.SIGTERM
    assert start.matching(r"^used: \d:\d\d min, .* tokens in.* \(estimate, prices of ")
    assert settled(lambda: not survivors(token), PATIENCE_S)


def fits(console: Tmux, width: int, height: int) -> bool:
    """Return whether the console fills a screen of this size with all its parts."""
    rows = console.screen
    return (
        len(rows) == height
        and max(map(len, rows)) <= width
        and "type to the assistant"[:width] in rows[-2]
        and "you" in rows[1]
        and "90 %  MUTED" in rows[1]
        and "(estimate)" in " ".join(" ".join(rows[2:6]).split())
    )


def test_a_conversation_is_held_from_the_console(console: Tmux, pipeline: Pipeline) -> None:
    plain = pipeline.python("commands", "console", "--plain", *pipeline.options({}))
    console.wait(r"^(listening|speaking) .*type to the assistant")
    # a line that is typed is answered, and the answer is shown as it is heard
    console.type("Hello there", "Enter")
    console.wait(r"you: Hello there .*assistant: \w+ \w+")
    assert "Hello there" not in console.screen[-2], "the line is empty again"
    # keys
    console.type("Escape")
    pipeline.bus.wait_for(messages.Interruption, lambda cut: cut.cause == "control")
    console.wait(r"✂ \w+.*\(stopped in \d+ ms, heard \d+\.\d of \d+\.\d s\)")
    console.wait(r"used: \d:\d\d min, .* tokens in.*\(estimate\)")
    console.type("C-o")
    console.wait(r"MUTED .*\(muted\)")
    console.type("F5")
    console.wait(r"volume 90 % +MUTED")
    console.type("C-y")
    console.wait("no function waits for an approval")
    console.type("C-t")
    console.wait("! interruption.decide is server: set it to push_to_talk to use the button")
    # another size, and back
    for width, height in ((40, 12), (200, 50), (80, 24)):
        console.run("resize-window", "-x", str(width), "-y", str(height))
        assert settled(partial(fits, console, width, height), PATIENCE_S), "\n".join(console.screen)
    plain.send(signal.SIGINT)
    assert plain.wait() == 0
    assert plain.matching("^you: Hello there$")
    assert plain.matching(r"^  \(stopped in \d+ ms, heard ")
    assert "\x1b" not in plain.output
