"""Public clients of the Realtime API, each at one version, which talk with the emulator.

A person asks for a function, the client runs it, the emulator speaks the answer, and the person
talks over the answer. Each client is a program of its own: its packages do not fit the product's.
``python -m tests.support.clients`` runs all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import soundfile

from services.emulator.options import VOICE, Options
from services.emulator.server import Emulator, serve

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
#: The output of the function that every client offers.
OUTPUT: Final = "You will meet a tall dark process."
#: How long installing the packages of a client may take, and how long its conversation, s.
INSTALL_S, CONVERSATION_S = 300, 30
#: When a conversation without a truncate ends, s: a client ends by itself after 20 s.
TRUNCATE_S = 15
#: How often to look for the truncate in the emulator's journal, s.
LOOK_S = 0.02
#: The emulator's error for a cancel that comes after the response's end: a race of every client.
LATE_CANCEL: Final = "response_cancel_not_active"


@dataclass(frozen=True)
class Client:
    """A client: its program, and the file that pins its packages."""

    program: str
    packages: str
    #: Whether CI runs it. The others need some 300 MB of packages each.
    in_ci: bool = False


CLIENTS: Final[Mapping[str, Client]] = {
    "openai-agents": Client("openai_agents.py", "openai_agents.txt", in_ci=True),
    "@openai/agents-realtime": Client("agents_realtime.mjs", "package-lock.json", in_ci=True),
    "livekit-agents": Client("livekit_agents.py", "livekit_agents.txt"),
    "pipecat-ai": Client("pipecat_ai.py", "pipecat_ai.txt"),
}


class NotInstalled(Exception):
    """Raised when the packages of a client cannot be installed, with the reason."""


@dataclass(frozen=True)
class Conversation:
    """The result of a conversation."""

    code: int  # the client's exit code
    told: list[dict[str, Any]]  # the lines of the client's program
    journal: list[dict[str, Any]]  # of the emulator
    errors: list[str]  # the emulator's error events
    printed: str  # whatever else the client printed

    def faults(self) -> list[str]:
        """Return what is wrong with the conversation, one line each."""
        wanted = {
            "the client ends with 0": self.code == 0,
            "the client runs the function once": sum("called" in line for line in self.told) == 1,
            "the function returns": {"returned": OUTPUT} in self.told,
            "the client notices the interruption": {"interrupted": True} in self.told,
            "the client gets no error": not any("error" in line for line in self.told),
            "the emulator refuses nothing": not [e for e in self.errors if LATE_CANCEL not in e],
            "the emulator gets the output": any(
                OUTPUT in entry.get("output", "") for entry in self._of("create")
            ),
            "the emulator speaks the output": any(
                OUTPUT in entry.get("transcript", "") for entry in self._of("reply")
            ),
            "the client truncates what was not heard": self._truncated(),
        }
        return [what for what, holds in wanted.items() if not holds]

    def _truncated(self) -> bool:
        """Return whether the answer was truncated within its length, after a word was heard."""
        cut = self._of("truncate")
        return bool(cut) and all(entry["ok"] for entry in cut) and bool(cut[-1]["heard"])

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.journal if entry["kind"] == kind]


def install(client: Client) -> Path:
    """Return the directory with the packages of a client. Raises NotInstalled."""
    made_of = (HERE / client.packages).read_bytes() + (HERE / client.program).read_bytes()
    name = f"{client.program}-{hashlib.sha256(made_of).hexdigest()[:12]}"
    where = Path(sys.prefix) / "clients" / name
    if where.exists():
        return where
    where.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=where.parent) as made:
        if client.program.endswith(".mjs"):
            for file in ("package.json", "package-lock.json", client.program):
                shutil.copy(HERE / file, made)
            command = [
                "npm",
                "ci",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ]
        else:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            command = [*pip, "--target", made, "-r", str(HERE / client.packages)]
        try:
            subprocess.run(
                command, cwd=made, check=True, capture_output=True, timeout=INSTALL_S, text=True
            )
        except FileNotFoundError as error:
            raise NotInstalled(f"there is no {error.filename}") from None
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"{command[0]} takes longer than {INSTALL_S} s") from None
        except subprocess.CalledProcessError as error:
            raise NotInstalled(error.stderr.strip()[-500:]) from None
        Path(made).rename(where)
        Path(made).mkdir()  # for TemporaryDirectory, which removes it
    return where


async def converse(client: Client, packages: Path) -> Conversation:
    """Let a client talk with an emulator."""
    options = Options(url="ws://127.0.0.1:0/v1/realtime", pace=2.0, call_every=1)
    with TemporaryDirectory() as made, _errors() as errors:
        files = [str(file) for file in _person(Path(made))]
        async with serve(options) as emulator:
            url = f"ws://127.0.0.1:{emulator.port}/v1/realtime?model=gpt-realtime"
            if client.program.endswith(".mjs"):
                command = ["node", str(packages / client.program), url, *files]
            else:
                command = [sys.executable, str(HERE / client.program), url, *files]
            process = await asyncio.create_subprocess_exec(
                *command,
                # Where this file is not: a client's package can have the name of its program.
                cwd=made,
                env={**os.environ, "PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1"},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                async with asyncio.timeout(CONVERSATION_S):
                    printing = asyncio.create_task(process.stdout.read())
                    await _wait_for_truncate(emulator, printing)
                    process.stdin.close()  # the client ends then
                    output = await printing
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        lines = output.decode("utf-8", "replace").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        printed = "\n".join(line for line in lines if not line.startswith("{"))
        assert process.returncode is not None
        return Conversation(process.returncode, told, list(emulator.journal), errors, printed)


async def _wait_for_truncate(emulator: Emulator, client: asyncio.Task[bytes]) -> None:
    """Wait until the client has truncated a reply, or has ended, or takes too long."""
    for _ in range(round(TRUNCATE_S / LOOK_S)):
        truncated = any(entry["kind"] == "truncate" for entry in emulator.journal)
        if truncated or client.done():
            return
        await asyncio.sleep(LOOK_S)


@contextmanager
def _errors() -> Iterator[list[str]]:
    """Collect the error events that the emulator logs."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith("error "):
                found.append(text)

    log, collector = logging.getLogger("emulator"), Collector()
    level = log.level
    log.addHandler(collector)
    log.setLevel(logging.INFO)
    try:
        yield found
    finally:
        log.removeHandler(collector)
        log.setLevel(level)


def _person(directory: Path) -> list[Path]:
    """Write a question of the emulator's recorded person, and an interruption, as PCM."""
    pcm, _ = soundfile.read(VOICE / "person.opus", dtype="int16")
    spoken = json.loads((VOICE / "index.json").read_text())["person"]["utterances"]
    files = []
    for number, said in enumerate(spoken[:2]):
        files.append(directory / f"{number}.pcm")
        words = pcm[said["start_ms"] * 24 : said["end_ms"] * 24].tobytes()
        files[-1].write_bytes(bytes(24000) + words + bytes(48000))
    return files
