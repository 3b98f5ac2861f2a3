"""A conversation and its window: stages end, stop and continue with what started them."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import psutil
import pytest

from shared import messages, registry
from tests.support import keeper
from tests.support.pipeline import PATIENCE_S, ROOT, Child, Keeper, Pipeline, settled, survivors

pytestmark = pytest.mark.process

LAUNCHER = f"{sys.executable} -u -m commands.launcher -e /dev/null -f Procfile"
START = f"{sys.executable} -u -m commands start --emulator"
HONCHO = f"{sys.executable} -u -m honcho.command start -e /dev/null -f Procfile"
#: The processes of the Procfile.
ALL = (*registry.STAGES, *registry.OPTIONAL)
#: honcho itself treats all stages alike, so two of them are enough to see what they do under it.
SOME = ("capture", "uplink")
starters = pytest.mark.parametrize(
    ("command", "stages"),
    [(LAUNCHER, ALL), (f"{HONCHO} {' '.join(SOME)}", SOME)],
    ids=["launcher", "honcho"],
)


BASH = ("bash", "--norc", "--noprofile", "-i")


class Terminal:
    """A terminal with an interactive shell. The keeper of the tests ends its processes."""

    def __init__(self, pipeline: Pipeline, token: str, shell: tuple[str, ...] = BASH) -> None:
        self.pipeline = pipeline
        self.token = token
        self.screen = ""
        self._changed = threading.Condition()
        env = {**pipeline.env, **pipeline.environment({}), "PS1": "$ ", keeper.VARIABLE: token}
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(shell[0], shell, env)
        self._open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._open:
            if not select.select([self._descriptor], [], [], 0.05)[0]:
                continue
            try:
                text = os.read(self._descriptor, 65536).decode("utf-8", "replace")
            except OSError:
                return
            with self._changed:
                self.screen += text
                self._changed.notify_all()

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait(self, pattern: str, since: int = 0) -> None:
        """Wait until the screen shows a pattern after its first ``since`` characters."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: re.search(pattern, self.screen[since:]), PATIENCE_S
            )
        assert found, f"{pattern!r} is not on the screen:\n{self.screen[since:]}"

    def close(self) -> None:
        """Close the window, once."""
        if self._open:
            self._open = False
            self._reader.join()
            os.close(self._descriptor)
            os.waitpid(self.pid, 0)


@pytest.fixture(name="terminal")
def _terminal(
    pipeline: Pipeline, kept: Keeper, request: pytest.FixtureRequest
) -> Iterator[Terminal]:
    """Return a terminal with bash, or with the shell that the test names."""
    terminal = Terminal(pipeline, kept.next_token(), getattr(request, "param", BASH))
    yield terminal
    terminal.close()
    left = survivors(terminal.token)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def stage_pids(pipeline: Pipeline, since: int = 0, stages: Sequence[str] = ALL) -> dict[str, int]:
    """Wait until every process of a conversation runs; return their pids."""
    return {stage: pipeline.bus.health(stage, since=since).pid for stage in stages}


def gone(pids: Callable[[], object]) -> bool:
    return settled(lambda: not pids(), PATIENCE_S)


def alive(pids: dict[str, int]) -> list[str]:
    return [stage for stage, pid in pids.items() if psutil.pid_exists(pid)]


def in_state(pids: dict[str, int], status: str) -> list[str]:
    return [stage for stage, pid in pids.items() if psutil.Process(pid).status() == status]


# The window closes, or the program that started the stages is killed.


@pytest.mark.parametrize(
    ("command", "stages"),
    [
        (LAUNCHER, ALL),
        (START, ALL),
        (f"{HONCHO} {' '.join(SOME)}", SOME),
        # These keep SIGHUP from the launcher.
        (f"setsid {LAUNCHER} {' '.join(SOME)}", SOME),
        (f"script -qc '{LAUNCHER} {' '.join(SOME)}' /dev/null", SOME),
    ],
    ids=["launcher", "start", "honcho", "setsid", "script"],
)
def test_closing_the_terminal_ends_every_stage(
    terminal: Terminal, command: str, stages: Sequence[str]
) -> None:
    terminal.type(f"{command}\n")
    pids = stage_pids(terminal.pipeline, stages=stages)
    terminal.close()
    assert gone(lambda: alive(pids)), alive(pids)


def test_a_stage_that_setsid_has_started_ends_with_its_terminal(terminal: Terminal) -> None:
    stage = [sys.executable, "-m", "services.capture", *terminal.pipeline.options({})]
    terminal.type(f"setsid {shlex.join(stage)}\n")
    pid = terminal.pipeline.bus.health("capture").pid
    terminal.close()
    assert gone(lambda: psutil.pid_exists(pid))


@starters
def test_killing_what_started_the_stages_ends_them(
    pipeline: Pipeline, command: str, stages: Sequence[str]
) -> None:
    child = pipeline.run(*shlex.split(command), env=pipeline.environment({}))
    child.codes = {-signal.SIGKILL}
    pids = stage_pids(pipeline, stages=stages)
    child.process.kill()
    assert gone(lambda: alive(pids)), alive(pids)


def test_nohup_keeps_the_conversation_and_the_launchers_death_ends_it(
    pipeline: Pipeline, kept: Keeper
) -> None:
    terminal = Terminal(pipeline, kept.next_token())
    terminal.type(f"nohup {LAUNCHER} {' '.join(SOME)} >/dev/null 2>&1 & echo started $!\n")
    terminal.wait(r"started \d+")
    found = re.search(r"started (\d+)", terminal.screen)
    assert found
    pids = stage_pids(pipeline, stages=SOME)
    terminal.close()
    assert stage_pids(pipeline, pipeline.bus.now, SOME) == pids
    os.kill(int(found[1]), signal.SIGKILL)
    assert gone(lambda: alive(pids)), alive(pids)
    assert survivors(terminal.token) == []


@pytest.mark.parametrize(
    "reading", [f"{LAUNCHER} | head -n 3", f"{START} | head -n 1"], ids=["launcher", "start"]
)
def test_the_conversation_ends_with_the_program_that_reads_its_output(
    pipeline: Pipeline, reading: str
) -> None:
    child = pipeline.run("sh", "-c", reading, env=pipeline.environment({}))
    assert child.wait() == 0
    assert survivors(pipeline.token) == []


ORPHAN = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "services.capture", *sys.argv[1:]])
time.sleep(1000)  # until it is killed
"""


def test_a_stage_ends_with_any_program_that_started_it(pipeline: Pipeline) -> None:
    child = pipeline.run(sys.executable, "-c", ORPHAN, *pipeline.options({}))
    child.codes = {-signal.SIGKILL}
    pid = pipeline.bus.health("capture").pid
    child.process.kill()
    assert gone(lambda: psutil.pid_exists(pid))


def started_to_stay(pipeline: Pipeline, kept: Keeper, start: str) -> int:
    """Start capture from a terminal, which is then closed; return the pid of capture."""
    terminal = Terminal(pipeline, kept.next_token())
    stage = shlex.join([sys.executable, "-m", "services.capture", *pipeline.options({})])
    terminal.type(start.format(f"{stage} >/dev/null 2>&1") + "\n")
    pid = pipeline.bus.health("capture").pid
    terminal.type("exit\n")
    terminal.wait("exit")
    terminal.close()
    return pid


def test_a_stage_that_was_started_to_stay_stays(pipeline: Pipeline, kept: Keeper) -> None:
    with Pipeline(kept) as other:
        pids = {
            pipeline: started_to_stay(pipeline, kept, "nohup {} &"),
            other: started_to_stay(other, kept, "({} &)"),
        }
        # A stage looks at its parent once a second, and publishes its health once a second.
        for _ in range(3):
            now = {each: each.bus.now for each in pids}
            for each, pid in pids.items():
                assert each.bus.health("capture", since=now[each]).pid == pid
        for pid in pids.values():
            os.kill(pid, signal.SIGTERM)
        for pid in pids.values():
            assert gone(lambda pid=pid: psutil.pid_exists(pid))  # type: ignore[misc]


# Ctrl-Z


def test_ctrl_z_stops_every_stage_and_fg_goes_on(terminal: Terminal) -> None:
    terminal.type(f"{LAUNCHER}\n")
    pids = stage_pids(terminal.pipeline)
    terminal.type("\x1a")
    terminal.wait("Stopped")
    assert settled(lambda: len(in_state(pids, psutil.STATUS_STOPPED)) == len(pids))
    terminal.type("fg\n")
    assert settled(lambda: not in_state(pids, psutil.STATUS_STOPPED))
    again = stage_pids(terminal.pipeline, terminal.pipeline.bus.now)
    assert again == pids
    shown = len(terminal.screen)
    terminal.type("\x03")
    terminal.wait("SIGINT received", shown)
    assert gone(lambda: alive(pids))


def test_stopped_stages_end_with_a_launcher_that_is_killed(terminal: Terminal) -> None:
    terminal.type(f"{LAUNCHER} {' '.join(SOME)}\n")
    pids = stage_pids(terminal.pipeline, stages=SOME)
    launcher = psutil.Process(pids["capture"]).parents()[1]
    terminal.type("\x1a")
    terminal.wait("Stopped")
    assert settled(lambda: len(in_state(pids, psutil.STATUS_STOPPED)) == len(pids))
    launcher.kill()
    assert gone(lambda: alive(pids)), alive(pids)


@pytest.mark.skipif(not shutil.which("dash"), reason="this machine has no dash")
@pytest.mark.parametrize("terminal", [("dash", "-i")], indirect=True, ids=["dash"])
@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_a_stopped_conversation_ends_where_the_shell_does_not_continue_it(
    terminal: Terminal, name: str
) -> None:
    terminal.type(f"{LAUNCHER} {' '.join(SOME)}\n")
    pids = stage_pids(terminal.pipeline, stages=SOME)
    terminal.type("\x1a")
    terminal.wait("Stopped")
    assert settled(lambda: len(in_state(pids, psutil.STATUS_STOPPED)) == len(pids))
    terminal.type(f"kill -{name} %1\n")
    assert gone(lambda: alive(pids)), alive(pids)


def test_a_screen_that_stands_still_holds_nobody_up(terminal: Terminal) -> None:
    terminal.type(f"{START}\n")
    pids = stage_pids(terminal.pipeline)
    terminal.wait(r"the log: \S+/bargein\.log")
    terminal.wait("Speak: I'm listening")
    [screen] = [
        each
        for each in psutil.process_iter(["cmdline"])
        if "commands.screen" in (each.info["cmdline"] or [])
        and each.environ().get(keeper.VARIABLE) == terminal.token
    ]
    assert "OPENAI_API_KEY" not in screen.environ()
    terminal.type("\x1a")
    terminal.wait("Stopped")
    assert settled(lambda: screen.status() == psutil.STATUS_STOPPED)
    terminal.type("fg\n")
    assert settled(lambda: screen.status() != psutil.STATUS_STOPPED)
    screen.suspend()
    bus = terminal.pipeline.bus
    now = bus.now
    os.kill(pids["vad"], signal.SIGKILL)
    pids["vad"] = bus.health("vad", lambda h: h.pid != pids["vad"], since=now).pid
    screen.resume()
    terminal.wait(r"! vad is started again in 0\.2 s: the conversation goes on")
    screen.kill()
    assert stage_pids(terminal.pipeline, bus.now) == pids
    terminal.type("\x03")
    terminal.wait("SIGINT received")  # without the screen, the log is shown
    assert gone(lambda: alive(pids))


@starters
def test_stages_do_not_go_on_under_a_launcher_that_is_stopped(
    pipeline: Pipeline, command: str, stages: Sequence[str]
) -> None:
    child = pipeline.run(*shlex.split(command), env=pipeline.environment({}))
    child.codes = {0, 128 + signal.SIGTERM}
    pids = stage_pids(pipeline, stages=stages)
    child.send(signal.SIGSTOP)
    assert gone(lambda: alive(pids)), alive(pids)
    child.send(signal.SIGCONT)
    assert child.wait() == 0


# A stage crashes, ends or is restarted. Tests that leave the conversation running share one.


@dataclass
class Conversation:
    """A conversation that the launcher has started."""

    pipeline: Pipeline
    launcher: Child
    stages: Sequence[str]

    @classmethod
    def start(cls, pipeline: Pipeline, stages: Sequence[str] = ALL) -> Self:
        """Start stages."""
        command = [*shlex.split(LAUNCHER), *stages]
        launcher = pipeline.run(*command, env=pipeline.environment({}))
        launcher.codes = {128 + signal.SIGTERM}
        return cls(pipeline, launcher, stages)

    def pids(self) -> dict[str, int]:
        """Wait until every stage runs; return their pids now."""
        return stage_pids(self.pipeline, self.pipeline.bus.now, self.stages)


@pytest.fixture(name="conversation", scope="module")
def _conversation(kept: Keeper) -> Iterator[Conversation]:
    with Pipeline(kept) as pipeline:
        yield Conversation.start(pipeline)


def test_a_stage_that_is_killed_is_started_again_and_the_others_stay(
    conversation: Conversation,
) -> None:
    pids = conversation.pids()
    bus = conversation.pipeline.bus
    for count in (1, 2):
        now = bus.now
        os.kill(bus.health("downlink", since=now).pid, signal.SIGKILL)
        line = conversation.launcher.wait_line("downlink.1 is started again in ", count)
        assert f" {0.2 * count:.1f} s" in line
        bus.health("downlink", lambda h: h.pid not in pids.values(), since=now)
    again = conversation.pids()
    assert {s: p for s, p in again.items() if s != "downlink"} == {
        s: p for s, p in pids.items() if s != "downlink"
    }


def test_a_stage_whose_keeper_is_killed_is_started_again(conversation: Conversation) -> None:
    pids = conversation.pids()
    keeper_of_vad = psutil.Process(pids["vad"]).parent()
    assert keeper_of_vad is not None
    now = conversation.pipeline.bus.now
    keeper_of_vad.kill()
    conversation.launcher.wait_line("vad.1 is started again")
    conversation.pipeline.bus.health("vad", lambda h: h.pid != pids["vad"], since=now)
    assert conversation.launcher.running


def bargein(pipeline: Pipeline, *arguments: str) -> Child:
    return pipeline.python("commands", *arguments, *pipeline.options({}))


def test_a_stage_is_restarted_in_the_midst_of_a_conversation(conversation: Conversation) -> None:
    pids = conversation.pids()
    child = bargein(conversation.pipeline, "restart", "playback")
    assert child.wait() == 0
    again = conversation.pids()
    assert again["playback"] != pids["playback"]
    assert f"pid {pids['playback']} has ended, pid {again['playback']} runs" in child.output
    assert again["link"] == pids["link"]


def test_a_conversation_is_ended_from_anywhere(conversation: Conversation) -> None:
    """This test ends the shared conversation."""
    pids = conversation.pids()
    os.kill(pids["uplink"], signal.SIGSTOP)
    child = bargein(conversation.pipeline, "stop")
    assert child.wait() == 0
    assert [stage for stage in pids if f"{stage} (pid {pids[stage]})" in child.output] == [*pids]
    assert conversation.launcher.wait() == 0
    assert alive(pids) == []
    again = bargein(conversation.pipeline, "stop")
    assert "nothing was running" in again.wait_line("nothing")
    assert again.wait() == 0


def test_a_stage_that_ends_on_purpose_ends_the_conversation(pipeline: Pipeline) -> None:
    conversation = Conversation.start(pipeline, SOME)
    pids = conversation.pids()
    os.kill(pids["uplink"], signal.SIGTERM)
    assert conversation.launcher.wait() == 0
    assert alive(pids) == []


def test_a_restart_that_nobody_carries_out_is_reported(pipeline: Pipeline) -> None:
    capture = pipeline.up("capture")
    capture.codes = {75}
    child, missing = (bargein(pipeline, "restart", stage) for stage in ("capture", "vad"))
    assert (child.wait(), missing.wait()) == (1, 1)
    assert "nothing started it again" in child.output
    assert "vad is not running" in missing.output
    assert not pipeline.bus.all(messages.Speech)
