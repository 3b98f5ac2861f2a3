"""The systemd units: they start every stage, and restart one only if that can help."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared import config, exit_codes, registry, signals
from shared.stage import HEARTBEAT_S

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
TEMPLATE = UNITS / "bargein@.service"
#: What the target starts.
STARTED = (*registry.STAGES, *registry.OPTIONAL)

Sections = dict[str, dict[str, list[str]]]


def read(path: Path) -> Sections:
    """Return the settings of a unit: section, then setting, then its values."""
    found: Sections = {}
    for line in path.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
            continue
        name, equals, value = line.partition("=")
        assert equals, f"{path.name}: {line}"
        section.setdefault(name, []).append(value)
    return found


def words(values: list[str]) -> list[str]:
    return [word for value in values for word in value.split()]


def of(name: str) -> dict[str, list[str]]:
    """Return the settings of a stage's service, drop-ins included."""
    settings = {k: list(v) for k, v in read(TEMPLATE)["Service"].items()}
    for path in sorted((UNITS / f"bargein@{name}.service.d").glob("*.conf")):
        for key, values in read(path)["Service"].items():
            settings.setdefault(key, []).extend(values)
    return settings


def test_the_target_starts_the_stages_and_ends_them() -> None:
    unit = read(UNITS / "bargein.target")["Unit"]
    assert words(unit["Wants"]) == [f"bargein@{name}.service" for name in STARTED]
    assert read(TEMPLATE)["Unit"]["PartOf"] == ["bargein.target"]
    drop_ins = {path.name for path in UNITS.glob("*.service.d")}
    assert drop_ins == {"bargein@link.service.d"}


@pytest.mark.parametrize("name", registry.PROCESSES)
def test_a_service_is_a_stage(name: str) -> None:
    settings = of(name)
    [command] = settings["ExecStart"]
    [place] = settings["WorkingDirectory"]
    program, *arguments = command.replace("%i", name).split()
    assert program == f"{place}/.venv/bin/python"
    assert arguments == ["-u", "-m", f"services.{name}"]
    assert find_spec(arguments[-1]) is not None


@pytest.mark.parametrize("name", STARTED)
def test_only_what_another_try_can_mend_is_tried_again(name: str) -> None:
    settings = of(name)
    assert settings["Restart"] == ["on-failure"]
    final = {int(code) for code in words(settings["RestartPreventExitStatus"])}
    # Only link ends with FAILED after a refusal by the server.
    assert final == {
        exit_codes.BAD_CONFIG,
        exit_codes.RUNNING,
        *([exit_codes.FAILED] if name == "link" else []),
    }
    assert exit_codes.CRASHED not in final
    # The number of restarts is limited.
    limits = read(TEMPLATE)["Unit"]
    assert int(limits["StartLimitBurst"][0]) <= 10
    assert float(settings["TimeoutStopSec"][0]) > signals.SHUTDOWN_S


def test_a_stage_that_hangs_is_noticed() -> None:
    settings = read(TEMPLATE)["Service"]
    assert settings["Type"] == ["notify"]
    assert float(settings["WatchdogSec"][0]) >= 10 * HEARTBEAT_S


@pytest.mark.parametrize("name", registry.PROCESSES)
def test_link_alone_is_told_where_the_key_is(name: str) -> None:
    settings = of(name)
    assert settings["UnsetEnvironment"] == ["OPENAI_API_KEY"]
    variables = dict(value.split("=", 1) for value in settings.get("Environment", []))
    assert list(variables) == (["BARGEIN_LINK__KEY_FILE"] if name == "link" else [])
    config.resolve(Path(os.devnull), variables, [])


def test_systemd_has_nothing_to_say_about_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        # Without systemd-analyze, check at least that each unit can be read.
        assert all(read(path) for path in UNITS.rglob("*.*") if path.is_file())
        return
    # systemd-analyze checks that the program exists.
    program = tmp_path / "bargein" / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    names = ["bargein.target", *(f"bargein@{name}.service" for name in STARTED)]
    paths = [str(UNITS / name) for name in names]
    found = subprocess.run(
        [analyze, "--user", "--man=no", "verify", *paths],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.stderr, found.returncode) == ("", 0)
