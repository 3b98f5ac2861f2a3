"""The commands in bin/: what they set up, what they print, and how they end.

Each test runs them in a copy of bin/. PATH has only the standard tools, and stand-ins for Python,
the C compiler and the package manager. The stand-ins write down how they were called.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMANDS = ("demo", "start", "test")
SCRIPTS = [REPOSITORY / "bin" / name for name in (*COMMANDS, "bargein", "setup.sh")]

#: The tools that the scripts and the stand-ins may use. POSIX has all of them.
TOOLS = "cat chmod cksum cp dirname env grep ls mkdir mktemp nice rm sed tail"

#: A stand-in for Python. In a .venv it is a copy of itself. It hands a program given with -c to the
#: real Python, except for questions about packages.
PYTHON = f"""#!/bin/sh
case "$*" in
    *base_prefix*)
        printf '%s\\n' "$PYTHON_VERSION" /usr "${{CAN_VENV:-yes}}" "$INCLUDE" gcc
        exit ;;
    *"import pyaudio"*) [ -e .venv/pyaudio ] && exit || exit 1 ;;
    -c*|-I*) exec '{sys.executable}' "$@" ;;
esac
echo "python $*" >>"$CALLS"
pwd >"$WHERE"
case "$1 $2 ${{3-}}" in
    "-m venv "*)
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        printf '#!/bin/sh\\necho "honcho $*" >>"$CALLS"\\n' >.venv/bin/honcho
        chmod +x .venv/bin/honcho ;;
    "-m pip install")
        if [ -n "${{PIP_GATE-}}" ]; then
            echo installing >"$PIP_GATE.in"
            read -r go <"$PIP_GATE.out"
        fi
        echo "${{PIP_SAYS-a line that pip prints}}"
        case "$*" in *"check ${{PIP_FAILS_WITH-nothing}}") exit 1 ;; esac
        case "${{PIP_STATUS:-0}} $*" in "0 "*"check --editable"*) : >.venv/pyaudio ;; esac
        exit "${{PIP_STATUS:-0}}" ;;
    "-m commands start"*)
        exit "${{START_STATUS:-0}}" ;;
    "-m commands demo"*|"-m pytest "*|"-P -m commands"*)
        case $2 in pytest) shift 2 ;; *) shift 3 ;; esac
        for argument; do echo "argument $argument" >>"$CALLS"; done
        case "$*" in
            *tests/unit*) exit "${{UNIT_STATUS:-0}}" ;;
            *tests/contract*) exit "${{CONTRACT_STATUS:-0}}" ;;
        esac ;;
esac
"""

STAND_INS = {
    "python3": PYTHON,
    "gcc": '#!/bin/sh\ncat >/dev/null\nexit "${GCC_STATUS:-0}"\n',
    "uname": "#!/bin/sh\necho Linux\n",
    "id": '#!/bin/sh\necho "${USER_ID:-0}"\n',
    "sudo": '#!/bin/sh\necho "sudo $*" >>"$CALLS"\nexit 1\n',
    "apt-get": (
        '#!/bin/sh\necho "apt-get $*" >>"$CALLS"\n'
        'echo "E: Unable to locate package"\nexit "${APT_STATUS:-0}"\n'
    ),
}


@dataclass
class Checkout:
    """A copy of bin/ in a folder whose name has a space, with a PATH of its own."""

    root: Path
    path: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[str]:
        """How the stand-ins were called since the last `forget`."""
        calls = Path(self.env["CALLS"])
        return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []

    def forget(self) -> None:
        """Forget the calls."""
        Path(self.env["CALLS"]).unlink(missing_ok=True)

    def start(
        self, command: str, *arguments: str, cwd: Path | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start a command of bin/."""
        return subprocess.Popen(
            [self.root / "bin" / command, *arguments],
            cwd=cwd or self.root.parent,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, command: str, *arguments: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of bin/ to its end."""
        with self.start(command, *arguments, cwd=cwd, **env) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout in which nothing is set up."""
    root = tmp_path / "a checkout"
    shutil.copytree(REPOSITORY / "bin", root / "bin")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    path = tmp_path / "path"
    path.mkdir()
    for tool in TOOLS.split():
        real = shutil.which(tool)
        assert real, tool
        (path / tool).symlink_to(real)
    for name, script in STAND_INS.items():
        (path / name).write_text(script, encoding="utf-8")
        (path / name).chmod(0o755)
    include = tmp_path / "include"
    include.mkdir()
    (include / "Python.h").touch()
    return Checkout(
        root,
        path,
        {
            "PATH": str(path),
            "HOME": str(tmp_path),
            "CALLS": str(tmp_path / "calls"),
            "WHERE": str(tmp_path / "where"),
            "INCLUDE": str(include),
            "PYTHON_VERSION": "3.12",
        },
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines on standard error."""
    return done.stderr.splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_posix(script: Path) -> None:
    shells = [shell for name in ("dash", "sh") if (shell := shutil.which(name))]
    for shell in shells:
        subprocess.run([shell, "-n", script], check=True)
    if shellcheck := shutil.which("shellcheck"):
        done = subprocess.run(
            [shellcheck, "--external-sources", "--shell=sh", script],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "bargein"])
def test_commands_can_be_run(command: str) -> None:
    script = REPOSITORY / "bin" / command
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")


@pytest.mark.parametrize(
    "file", [*SCRIPTS, REPOSITORY / ".ci" / "run", REPOSITORY / "pyproject.toml"], ids=str
)
def test_no_registry_is_named(file: Path) -> None:
    """The settings of the machine decide where packages come from."""
    text = file.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|pypi\.|debian\.", text, re.IGNORECASE)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_nothing(checkout: Checkout, command: str) -> None:
    done = checkout.run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: bin/{command} ")
    assert checkout.calls == []
    assert not done.stderr


def test_set_up_once(checkout: Checkout) -> None:
    first = checkout.run("demo")
    assert first.returncode == 0, first.stderr
    assert checkout.calls == [
        "python -m venv --clear .venv",
        "python -m pip install --no-input --disable-pip-version-check --editable .",
        "python -m commands demo",
    ]
    assert "installing" in first.stderr
    assert "pip prints" not in first.stderr, "pip's own output belongs in the log"

    checkout.forget()
    second = checkout.run("demo")
    assert second.returncode == 0
    assert checkout.calls == ["python -m commands demo"]
    assert second.stderr == ""


def test_a_changed_project_is_installed_again(checkout: Checkout) -> None:
    checkout.run("demo")
    checkout.forget()
    with (checkout.root / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n# another dependency\n")
    checkout.run("demo")
    assert "python -m venv --clear .venv" not in checkout.calls
    assert any("pip install" in call for call in checkout.calls)


def test_a_moved_checkout_gets_a_new_venv(checkout: Checkout) -> None:
    checkout.run("demo")
    checkout.forget()
    checkout.root = checkout.root.rename(checkout.root.with_name("elsewhere"))
    checkout.run("demo")
    assert "python -m venv --clear .venv" in checkout.calls


def test_the_venv_of_another_checkout_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs").touch()
    (checkout.root / ".venv").symlink_to(other)
    assert checkout.run("demo").returncode == 0
    assert not (checkout.root / ".venv").is_symlink()
    assert [path.name for path in other.iterdir()] == ["theirs"]


def test_the_tests_tools_are_installed_only_for_the_tests(checkout: Checkout) -> None:
    checkout.run("demo")
    checkout.forget()
    checkout.run("test")
    assert any(call.endswith("--editable .[dev]") for call in checkout.calls)
    checkout.forget()
    checkout.run("demo")
    assert checkout.calls == ["python -m commands demo"]


def test_arguments_arrive(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("demo", "--out", "my results", "--seconds", "5", "--out=/else where", cwd=tmp_path)
    assert [call for call in checkout.calls if call.startswith("argument")] == [
        "argument --out",
        f"argument {tmp_path}/my results",
        "argument --seconds",
        "argument 5",
        "argument --out=/else where",
    ]
    checkout.forget()
    checkout.run("test", "-k", "a and b")
    assert checkout.calls[-2:] == ["argument -k", "argument a and b"]
    checkout.forget()
    checkout.run("start", "capture", "link")
    assert checkout.calls[-1] == "python -m commands start capture link"


def test_a_read_only_checkout_is_reported_at_once_and_the_files_go_elsewhere(
    checkout: Checkout, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()

    def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Without its capabilities, root cannot write to a read-only folder either.
        powerless = [shutil.which("setpriv") or "", "--bounding-set=-all", "--inh-caps=-all"]
        return subprocess.run(
            [*(powerless if os.geteuid() == 0 else ()), checkout.root / "bin" / "demo", *arguments],
            cwd=there,
            env=checkout.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    (checkout.root / ".setup.lock").touch(mode=0o444)
    left = demo()
    advice = f": run \"sudo chown -R {os.geteuid()} '{checkout.root}'\""
    assert errors(left)[-1].endswith(advice)
    (checkout.root / ".setup.lock").unlink()
    (checkout.root / ".venv").mkdir(mode=0o555)
    assert errors(demo())[-1].endswith(advice)
    (checkout.root / ".venv").rmdir()
    (checkout.root / ".setup.lock").unlink()
    checkout.root.chmod(0o555)
    try:
        fresh = demo()
        assert fresh.returncode == 1
        assert "not set up: set it up as its owner" in errors(fresh)[-1]
        checkout.root.chmod(0o755)
        checkout.run("demo")
        checkout.root.chmod(0o555)
        checkout.forget()
        done = demo()
        asked = demo("--out", "mine")
    finally:
        checkout.root.chmod(0o755)
    assert done.returncode == asked.returncode == 0, done.stderr
    assert done.stderr == (
        f"bin/demo: the checkout ({checkout.root}) is read-only: the files go to {there}\n"
    )
    assert asked.stderr == f"bin/demo: the checkout ({checkout.root}) is read-only\n"
    assert [call for call in checkout.calls if call.startswith("argument")] == [
        *("argument --out", f"argument {there}", "argument --out", f"argument {there}/mine")
    ]


def test_bargein_sets_up_and_stays_in_the_directory_where_it_was_typed(
    checkout: Checkout, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    done = checkout.run("bargein", "tap", "echo", "a topic", cwd=there)
    assert done.returncode == 0, done.stderr
    assert "python -m venv --clear .venv" in checkout.calls
    assert checkout.calls[-4:] == [
        "python -P -m commands tap echo a topic",
        *(f"argument {argument}" for argument in ("tap", "echo", "a topic")),
    ]
    assert Path(checkout.env["WHERE"]).read_text(encoding="utf-8").strip() == str(there)
    checkout.forget()
    assert checkout.run("bargein", "demo", cwd=there).stderr == ""
    assert checkout.calls == ["python -P -m commands demo", "argument demo"]


def test_start_ends_with_the_status_of_the_command(checkout: Checkout) -> None:
    assert checkout.run("start", START_STATUS="3").returncode == 3


def test_an_old_python_gets_one_line(checkout: Checkout) -> None:
    done = checkout.run("demo", PYTHON_VERSION="3.10")
    assert done.returncode == 1
    assert done.stderr == (
        "bin/demo: needs Python 3.11 or newer, and found python3 3.10:"
        " install one, or name one with PYTHON=/path/to/python3 bin/demo\n"
    )
    assert checkout.calls == []


def test_no_python_gets_one_line(checkout: Checkout) -> None:
    (checkout.path / "python3").unlink()
    done = checkout.run("start")
    assert done.returncode == 1
    assert len(errors(done)) == 1
    assert "needs Python 3.11 or newer, and found none" in done.stderr
    assert "install one (run 'apt-get update && apt-get install python3' as root)" in done.stderr


def test_a_python_that_does_not_run_is_passed_over(checkout: Checkout) -> None:
    """pyenv, for example, puts a command on PATH for versions that are not in use."""
    (checkout.path / "python3").rename(checkout.path / "python3.12")
    (checkout.path / "python3").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (checkout.path / "python3").chmod(0o755)
    assert checkout.run("demo").returncode == 0


def test_missing_system_packages_are_installed(checkout: Checkout) -> None:
    (Path(checkout.env["INCLUDE"]) / "Python.h").unlink()
    done = checkout.run("demo", GCC_STATUS="1", CAN_VENV="no")
    assert done.returncode == 0, done.stderr
    (install,) = (call for call in checkout.calls if call.startswith("apt-get"))
    assert " install python3.12-venv gcc libc6-dev python3.12-dev" in install
    assert "--no-remove" in install
    assert "bin/demo: installing python3.12-venv gcc" in done.stderr


def test_a_failed_apt_ends_with_one_line(checkout: Checkout) -> None:
    done = checkout.run("start", GCC_STATUS="1", APT_STATUS="100")
    assert done.returncode == 1
    said = [line for line in errors(done) if line.startswith("bin/start: ")]
    assert errors(done)[-1] == said[-1]
    assert said[-1].startswith("bin/start: apt-get could not install gcc libc6-dev")
    assert "    E: Unable to locate package" in errors(done), "apt's last lines are shown"
    assert (checkout.root / ".setup.log").exists()
    assert sum("update" in call for call in checkout.calls) == 1, "the list of packages may be old"
    assert not any("venv" in call for call in checkout.calls)


def test_without_root_the_message_names_the_command_to_type(checkout: Checkout) -> None:
    done = checkout.run("start", GCC_STATUS="1", USER_ID="1000")
    assert done.returncode == 1
    assert "run 'apt-get update && apt-get install gcc libc6-dev" in errors(done)[-1]
    assert "' as root, then bin/start again" in errors(done)[-1]
    assert not any(call.startswith("apt-get") for call in checkout.calls)


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"GCC_STATUS": "1", "USER_ID": "1000"}, "sudo does not work here"),
        ({"GCC_STATUS": "1", "APT_STATUS": "100"}, "apt-get could not install gcc libc6-dev"),
        ({"PIP_FAILS_WITH": "--editable ."}, "pip could not install everything"),
    ],
    ids=["no root", "no packages", "does not compile"],
)
def test_the_demo_does_without_sound_where_pyaudio_cannot_be_compiled(
    checkout: Checkout, env: dict[str, Any], why: str
) -> None:
    done = checkout.run("demo", **env)
    assert done.returncode == 0, done.stderr
    [said] = [line for line in errors(done) if "going on without PortAudio" in line]
    assert why in said
    assert "Files take their place" in said
    needed = (checkout.root / ".venv" / "without-sound.txt").read_text(encoding="utf-8")
    assert "pyzmq" in needed
    assert "pyaudio" not in needed
    assert any(call.endswith("--no-deps --editable .") for call in checkout.calls)
    assert checkout.calls[-1] == "python -m commands demo"
    # The next demo sets up nothing. The real conversation needs sound devices.
    checkout.forget()
    again = checkout.run("demo", **env)
    assert (again.returncode, again.stderr) == (0, "")
    assert checkout.calls == ["python -m commands demo"]
    checkout.forget()
    assert checkout.run("start", **env).returncode == 1
    assert not any("commands start" in call for call in checkout.calls)
    checkout.forget()
    assert checkout.run("start").returncode == 0
    assert any(call.endswith("--editable .") for call in checkout.calls)


def test_a_failed_pip_ends_with_one_line_and_is_tried_again(checkout: Checkout) -> None:
    done = checkout.run("demo", PIP_STATUS="1")
    assert done.returncode == 1
    assert errors(done)[-1].startswith("bin/demo: pip could not install Bargein into .venv")
    assert "    a line that pip prints" in errors(done)
    checkout.forget()
    assert checkout.run("demo").returncode == 0
    assert any("pip install" in call for call in checkout.calls)


NO_VERSION = "ERROR: Could not find a version that satisfies x (from versions: none)"


@pytest.mark.parametrize("command", ["demo", "start"])
@pytest.mark.parametrize(
    ("says", "why"),
    [
        (
            f"WARNING: Retrying after connection broken by 'NewConnectionError(…)'\n{NO_VERSION}",
            "it does not reach the package index: check the network",
        ),
        (f"WARNING: Retrying … 'ProxyError(…407…)'\n{NO_VERSION}", "correct https_proxy"),
        (f"WARNING: … CERTIFICATE_VERIFY_FAILED …\n{NO_VERSION}", "set PIP_CERT to a file"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_a_pip_without_network_or_disk_says_so_at_once(
    checkout: Checkout, command: str, says: str, why: str
) -> None:
    done = checkout.run(command, PIP_STATUS="1", PIP_SAYS=says)
    assert done.returncode == 1
    assert why in errors(done)[-1]
    assert sum("pip install" in call for call in checkout.calls) == 1
    assert says.splitlines()[0] not in done.stderr


def test_all_rings_are_run_and_none_that_fails_is_forgotten(checkout: Checkout) -> None:
    assert checkout.run("test", UNIT_STATUS="3").returncode == 3
    checkout.forget()
    done = checkout.run("test", CONTRACT_STATUS="3")
    assert done.returncode == 3
    rings = [call for call in checkout.calls if call.startswith("argument tests/")]
    crowded = ("process/test_check.py", "process/test_freeze.py")
    # The unit tests run beside the others. What failed of those runs again, alone.
    last = "process/test_loudspeaker.py"
    rest = ("contract", "contract", "process", *crowded, "sound", last)
    rings.remove("argument tests/unit")
    assert rings == [f"argument tests/{ring}" for ring in rest]
    assert checkout.calls.count("argument --last-failed") == 1
    assert [call for call in checkout.calls if call.startswith("argument --ignore")] == [
        f"argument --ignore=tests/{file}" for file in (*crowded, last)
    ]
    checkout.forget()
    # A test that is named runs alone.
    assert checkout.run("test", "-k", "playhead", UNIT_STATUS="3").returncode == 0
    assert checkout.calls[-2:] == ["argument -k", "argument playhead"]


def test_without_root_the_tests_run_without_a_sound_server(checkout: Checkout) -> None:
    done = checkout.run("test", USER_ID="1000")
    assert done.returncode == 0
    assert "bin/test: tests/sound will be skipped: no sound server" in done.stderr
    assert "argument tests/sound" in checkout.calls


def test_a_sound_server_that_cannot_be_installed_is_no_failure(checkout: Checkout) -> None:
    done = checkout.run("test", APT_STATUS="100")
    assert done.returncode == 0
    assert errors(done)[-1].startswith("bin/test: tests/sound will be skipped: no sound server")
    assert any("install pulseaudio" in call for call in checkout.calls)
    assert "argument tests/sound" in checkout.calls


@pytest.mark.parametrize("status", ["0", "100"])
def test_in_ci_more_packages_are_installed_or_done_without(checkout: Checkout, status: str) -> None:
    done = checkout.run("test", APT_STATUS=status, CI="true")
    assert done.returncode == 0
    for packages in ("iproute2", "nodejs npm", "mosquitto"):
        assert any(f"install {packages}" in call for call in checkout.calls)
    assert ("no npm: the tests of the examples in JavaScript" in done.stderr) == (status != "0")
    assert "argument tests/sound" in checkout.calls
    checkout.forget()
    for tool in ("ip", "node", "npm"):
        (checkout.path / tool).symlink_to("/bin/sh")
    checkout.run("test", CI="true")
    assert not any("iproute2" in call or "nodejs" in call for call in checkout.calls)


def test_without_ci_no_package_is_installed_but_the_sound_server(checkout: Checkout) -> None:
    checkout.run("test")
    installs = [call for call in checkout.calls if call.startswith("apt-get")]
    assert len(installs) == 1
    assert "install pulseaudio" in installs[0]


def test_nothing_is_put_beside_pipewire(checkout: Checkout) -> None:
    (checkout.path / "pipewire").symlink_to("/bin/sh")
    done = checkout.run("test")
    assert "this machine has PipeWire, and PulseAudio could disturb it" in done.stderr
    assert not any(call.startswith("apt-get") for call in checkout.calls)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Return the gate at which the stand-in for pip waits: it writes `.in`, then reads `.out`."""
    os.mkfifo(tmp_path / "gate.in")
    os.mkfifo(tmp_path / "gate.out")
    return tmp_path / "gate"


def test_two_set_ups_at_once_are_one(checkout: Checkout, gate: Path) -> None:
    with checkout.start("demo", PIP_GATE=str(gate)) as first:
        assert gate.with_suffix(".in").read_text(encoding="utf-8") == "installing\n"
        with checkout.start("start") as second:
            assert second.stderr is not None
            assert "another set-up is running here; waiting" in second.stderr.readline()
            gate.with_suffix(".out").write_text("go on\n", encoding="utf-8")
            assert first.wait(60) == 0
            assert second.wait(60) == 0
    assert sum("pip install" in call for call in checkout.calls) == 1
    assert "python -m commands start" in checkout.calls


def test_a_killed_set_up_is_in_nobodys_way(checkout: Checkout, gate: Path) -> None:
    with checkout.start("demo", PIP_GATE=str(gate)) as first:
        gate.with_suffix(".in").read_text(encoding="utf-8")
        first.kill()
        first.wait()
        try:
            done = checkout.run("demo")  # the pip of the first set-up still runs
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    assert done.returncode == 0
    assert "another set-up" not in done.stderr
