"""A pipe, an endless device or a huge file in the place of a file that Bargein reads."""

from __future__ import annotations

import ast
import os
import signal
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import envfile, page
from commands.screen import log_file
from services.downlink import day_file, history_file
from services.emulator import clips
from services.link import asleep, worked
from services.monitor import panel_file
from services.monitor.connections import tls
from services.recorder import bus_file
from services.uplink import mcp_servers
from shared import door, messages, numbers, recording, running
from shared.directory import BusError
from shared.lock import take_lock
from shared.private import LONGEST_FILE

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
#: The only modules that may open a file by its name to read it. The others call shared.private.
OPEN_THEMSELVES = {
    "shared/private.py",
    "shared/audio/files.py",  # checks first that it is a regular file; a recording can be long
    "shared/directory.py",  # /proc
    "commands/start.py",  # a file of the checkout, as the next ones
    "commands/demo.py",  # also a file in a directory that the demo has just made
    "commands/busdoc.py",
    "commands/check/microphone.py",
    "commands/check/process.py",  # its own log, as the next ones
    "commands/check/conversation.py",
    "commands/check/lifetime.py",
}
#: The longest that any of the readers may take, s: each takes milliseconds.
LIMIT_S = 2.0


def _day(path: Path) -> object:
    day = day_file.DayFile(path.parent, "server")
    return day.look("2026-11-28")


def _lock(path: Path) -> object:
    os.close(take_lock("vad", path.parent))
    return running.holder(path.parent, "vad")


def _log(path: Path) -> str:
    log = log_file.LogFile(path)
    log.line("text")
    log.close()
    return log.trouble


#: Each reader, with the name of its file.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "settings of the environment": (".env", envfile.read),
    "switches": (panel_file.NAME, lambda path: panel_file.read(path.parent, 70).panel.volume),
    "sum of a day": (day_file.NAME, _day),
    "lock of the sum": (day_file.LOCK, lambda path: _written(path.parent)),
    "history": (history_file.NAME, lambda p: history_file.HistoryFile(p.parent, keep=True).read()),
    "sleep": (asleep.NAME, lambda path: asleep.Asleep(path.parent).cause),
    "key that worked": (worked.NAME, lambda p: worked.Worked(p.parent, "u", "k").accepted_before),
    "number": ("vad.number", lambda path: numbers.Numbers(path.parent, "vad").next()),
    "holder of a lock": ("vad.lock", lambda path: running.holder(path.parent, "vad")),
    "lock": ("vad.lock", _lock),
    "token": (door.TOKEN_FILE, lambda path: len(door.token(path.parent))),
    "page's address": (door.ADDRESS, lambda path: page.link(path.parent, 0)),
    "header of an MCP server": ("header", lambda p: mcp_servers._value(f"file:{p}", {})),
    "certificate": ("certificate.pem", lambda path: tls(str(path))),
    "voice": ("index.json", lambda path: clips.Voice(path.parent)),
    "recording": ("day.mcap", lambda p: list(recording.records(p, recording.Recording()))),
    "unfinished recordings": ("day.mcap", lambda path: list(bus_file.repair(path.parent))),
    "log": (log_file.NAME, _log),
}
#: The errors of the readers whose file a person chose.
CLEAR = (
    envfile.EnvFileError,
    mcp_servers.NoSecret,
    clips.VoiceError,
    recording.RecordingError,
    BusError,
    OSError,
)


def _written(directory: Path) -> None:
    day = day_file.DayFile(directory, "server")
    day.add(messages.Spent(input_text=1))
    day.write()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 200 * LONGEST_FILE)


class Late(BaseException):
    """A file was not read in time. Unlike TimeoutError, it is no OSError, which readers catch."""


@pytest.fixture
def in_time() -> Iterator[None]:
    """Fail a reader that waits: a read from a pipe has no timeout of its own."""

    def late(_number: int, _frame: types.FrameType | None) -> None:
        raise Late(f"a file was not read within {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("put", [_pipe, _endless])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_waits_for_what_is_no_file(
    tmp_path: Path, reader: str, put: Callable[[Path], None]
) -> None:
    name, read = READERS[reader]
    put(tmp_path / name)
    if why := _trouble(read, tmp_path / name):
        # A link in the bus directory is refused as a link, which is as clear.
        assert "regular" in why or "link" in why
        assert name in why


#: A recording can be huge, and is read piece by piece; a log is only written.
WHOLE = READERS.keys() - {"recording", "unfinished recordings", "log", "lock", "lock of the sum"}


@pytest.mark.parametrize("reader", sorted(WHOLE))
def test_no_huge_file_is_taken_in(
    tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, read = READERS[reader]
    _huge(tmp_path / name)
    asked: list[int] = []
    fdopen = os.fdopen

    def measured(*arguments: object, **named: object) -> object:
        file = fdopen(*arguments, **named)  # type: ignore[call-overload]
        asked.append(file.fileno())
        return file

    monkeypatch.setattr(os, "fdopen", measured)
    monkeypatch.setattr(Path, "read_bytes", _unbounded)
    monkeypatch.setattr(Path, "read_text", _unbounded)
    why = _trouble(read, tmp_path / name)
    assert not why or "longer than" in why
    assert asked


def _trouble(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except CLEAR as error:
        return str(error)
    return ""


def _unbounded(*_: object, **__: object) -> bytes:
    raise AssertionError("a whole file was read")


def test_every_file_is_opened_with_the_check() -> None:
    found = set()
    for package in ("services", "shared", "commands"):
        for module in (ROOT / package).rglob("*.py"):
            place = str(module.relative_to(ROOT))
            for node in ast.walk(ast.parse(module.read_text("utf-8"))):
                match node:
                    case ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes")):
                        found.add(place)
                    case ast.Call(
                        func=ast.Attribute(attr="open"),
                        args=[ast.Constant(value="rb" | "r"), *_],
                    ):
                        found.add(place)
                    case ast.Call(func=ast.Name(id="open"), args=[_, *_]):
                        found.add(place)
    allowed = {*OPEN_THEMSELVES, "shared/printable.py", "commands/launcher.py"}
    rendering = "services/emulator/voice/"
    assert {place for place in found if not place.startswith(rendering)} <= allowed
