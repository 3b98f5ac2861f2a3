"""A stage as a command: its command line, its exit codes, and what its process may do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from shared import registry
from shared.exit_codes import BAD_CONFIG, CRASHED, DONE, FAILED, RUNNING
from shared.realtime import endpoint
from shared.stage import Failure, Stage
from tests.support.stages import Open, Run
from tests.support.wires import Wires, taking

pytestmark = pytest.mark.contract


def test_a_stage_runs_and_ends(run: Run) -> None:
    assert run() == DONE
    assert run(set_up=lambda stage: stage.stop(5)) == 5


def test_a_wrong_configuration_is_shown_and_nothing_is_set_up(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("--set", "a=1", "--set", "b=1", set_up=lambda _: pytest.fail("it was set up"))
    assert code == BAD_CONFIG
    assert capsys.readouterr().err == "config: --set: a: unknown\nconfig: --set: b: unknown\n"


def test_a_fault_that_ends_the_stage_is_one_line(
    run: Run, open_stage: Open, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    def fail(stage: Stage) -> None:
        stage.on_close(lambda: closed.append(stage.name))
        raise Failure("no key: set one")

    def fail_later(stage: Stage) -> None:
        stage.after(0, lambda: fail(stage))

    assert run(set_up=fail) == FAILED
    assert run(set_up=fail_later) == FAILED
    assert closed == ["capture", "capture"]
    running = open_stage("capture")
    assert run() == RUNNING
    running.close()
    wires.directory.chmod(0o755)
    assert run() == FAILED
    wires.directory.chmod(0o700)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said[:2] == ["no key: set one"] * 2
    assert said[2].startswith("capture is already running (pid ")
    assert "open to other users" in said[3]
    assert all(line.isprintable() for line in said)


def test_an_error_of_its_own_is_no_refusal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[str] = []

    def fail(stage: Stage) -> None:
        stage.on_close(lambda: closed.append(stage.name))
        raise ZeroDivisionError("never")

    # This exit code says that starting the stage again may help. No other code does.
    assert run(set_up=fail) == CRASHED
    assert run(set_up=lambda stage: stage.after(0, lambda: fail(stage))) == CRASHED
    assert CRASHED not in {DONE, FAILED, BAD_CONFIG, RUNNING}
    assert closed == ["capture", "capture"]
    assert capsys.readouterr().err.count("ZeroDivisionError: never") == 2


def test_a_key_of_the_bus_that_is_none_is_a_wrong_configuration(
    run: Run, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert run("--set", f"bus.key_file={tmp_path / 'none'}") == BAD_CONFIG
    [line] = [record.getMessage() for record in caplog.records]
    # A path that leads nowhere is not shown: it may be the key itself.
    assert "bus.key_file: there is no such file: make one with" in line


def test_only_the_owner_can_read_the_files_of_a_stage(
    run: Run, tmp_path: Path, wires: Wires
) -> None:
    made = tmp_path / "made"

    def make(stage: Stage) -> None:
        made.touch()
        stage.stop()

    os.umask(0)
    run(set_up=make)
    assert made.stat().st_mode & 0o077 == 0
    assert (wires.directory / "capture.lock").stat().st_mode & 0o077 == 0


def test_its_devices_are_listed_without_starting_it(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(stage: Stage) -> None:
        pytest.fail("it was set up")

    def listing() -> str:
        return "0: a microphone"

    assert run("--list-devices", set_up=refuse, list_devices=listing) == DONE
    assert capsys.readouterr().out == "0: a microphone\n"
    assert run(list_devices=listing) == DONE
    assert capsys.readouterr().out == ""


def test_only_link_keeps_the_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in registry.PROCESSES:
        monkeypatch.setenv(endpoint.KEY_VARIABLE, "sk-secret")
        seen: list[str | None] = []
        run(
            name=name,
            set_up=lambda stage, seen=seen: (
                seen.append(os.environ.get(endpoint.KEY_VARIABLE)),
                stage.stop(),
            ),
        )
        assert seen == ["sk-secret" if name == "link" else None]


@pytest.mark.parametrize(
    "line", [["--conf", "x"], ["--unknown"], ["extra"], ["--log-level", "loud"]]
)
def test_a_wrong_command_line_is_refused(
    run: Run, line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*line)
    assert caught.value.code == BAD_CONFIG
    assert "bargein capture: error: " in capsys.readouterr().err


def test_it_hands_over_the_interpreter_quickly(run: Run) -> None:
    before = sys.getswitchinterval()
    run()
    assert sys.getswitchinterval() <= before / 5


def test_a_stage_whose_endpoint_is_taken_ends_with_one_line(
    run: Run, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    def steal(stage: Stage) -> None:
        stage.after(0.1, taking(wires, "capture"))

    assert run(set_up=steal) == FAILED
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "another process runs as capture and has taken the endpoint: end that process" in line
    assert line.isprintable()
