"""The documents: their commands run, their links resolve, and the tests they name exist.

Every command in a ``sh`` block is run in a copy of this checkout, unless its comment ends with one
of MARKS. A command may use the conversation that runs beside it (with the emulator, without a sound
device). A command that starts stages gets a bus of its own.

A recipe's blocks change the copy before anything runs. A block whose first line is ``# <path>`` is
a new file. A ``diff`` block changes the file that its first line names.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commands import cli
from shared import exit_codes
from tests.support.pipeline import PATIENCE_S, Child, Keeper, settled, start

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]
#: A comment that ends with one of these, after "; " or alone, says why the test does not run the
#: command. The documents have no other "needs …" or "takes …" at the end of a comment.
MARKS = {
    "needs Node",
    "needs a key",
    "needs a second machine",
    "needs a conversation",
    "needs a recording",
    "needs docker",
    "needs docker and a key",
    "needs a server of yours",
    "needs a terminal",
    "needs systemd",
    "needs uv",
    "needs pip-audit and its database",
    "takes seconds once everything is installed",
    "takes half a minute",
    "takes minutes",
    "takes hours",
}
#: What belongs to a checkout, and what the commands need of it. The rest is not copied.
COPIED = (
    "services",
    "shared",
    "commands",
    "bin",
    "systemd",
    "harness",
    "benchmarks",
    "examples",
    "docs",
)

#: A stage, or the emulator, is ready when it has printed a line with this.
LISTENS = r"listens (for|at) "


@dataclass(frozen=True)
class Command:
    """One command of a document."""

    document: str
    line: int
    text: str
    comment: str

    @property
    def mark(self) -> str:
        """Why the command is not run, or ""."""
        clause = self.comment.rpartition("; ")[2]
        return clause if clause.startswith(("needs ", "takes ")) else ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


@dataclass
class Block:
    """A fenced block of a document, without the indentation of a list it may be in."""

    language: str
    line: int  # of its first line of text, in the document
    lines: list[str] = field(default_factory=list)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document."""
    found: list[Block] = []
    block: Block | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and block is None:
            block = Block(fence[1], number + 1)
        elif fence and block is not None:
            indent = min((len(x) - len(x.lstrip()) for x in block.lines if x.strip()), default=0)
            block.lines = [x[indent:] for x in block.lines]
            found.append(block)
            block = None
        elif block is not None:
            block.lines.append(line)
    assert block is None, "a block does not end"
    return found


def commands(path: Path) -> list[Command]:
    """Return the commands of a document, in order. A backslash continues a line."""
    found = []
    for block in blocks(path.read_text("utf-8")):
        if block.language != "sh":
            continue
        begun = ""
        for number, line in enumerate(block.lines, block.line):
            if line.endswith("\\"):
                begun += line[:-1]
                continue
            text, _, comment = (begun + line).partition(" # ")
            begun = ""
            if text.strip():
                found.append(Command(name_of(path), number, text.strip(), comment.strip()))
    return found


def apply(block: Block, root: Path) -> None:
    """Make the change to a checkout that a block describes, if it describes one."""
    first = block.lines[0] if block.lines else ""
    if block.language == "diff":
        change(root / first.removeprefix("--- "), block.lines[1:])
    elif new := re.fullmatch(r"# ([\w./]+\.\w+)", first):
        path = root / new[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(block.lines[1:]) + "\n", "utf-8")


def change(path: Path, lines: list[str]) -> None:
    """Add and remove lines of a file where the lines around them are.

    A line of the block that ends with "…" stands for every line that begins like it.
    """
    old = [line[1:] for line in lines if line[:1] != "+"]
    there = path.read_text("utf-8").splitlines()
    found = [
        at
        for at in range(len(there) - len(old) + 1)
        if all(
            text.startswith(line[:-1]) if line.endswith("…") else text == line
            for line, text in zip(old, there[at : at + len(old)], strict=True)
        )
    ]
    assert len(found) == 1, f"{path.name} has this in {len(found)} places:\n" + "\n".join(old)
    at = found[0]
    new = []
    for line in lines:
        if line[:1] == "+":
            new.append(line[1:])
            continue
        if line[:1] != "-":
            new.append(there[at])
        at += 1
    there[found[0] : at] = new
    path.write_text("\n".join(there) + "\n", "utf-8")


COMMANDS = [command for path in DOCUMENTS for command in commands(path)]
#: The commands that are run, each once.
RUN = list({c.text: c for c in COMMANDS if not c.mark}.values())


def is_end(command: Command) -> bool:
    """Return whether a command ends the conversation."""
    return command.text.startswith("bin/bargein stop")


def starts_stages(command: Command) -> bool:
    """Return whether a command runs stages, or one stage, until it is ended."""
    named = re.search(r"(?:^|\s)bin/(?:(demo|start)\b|bargein (\w+))", command.text)
    if named is None or "--help" in command.text:
        return False
    return (named[1] or named[2]) not in set(cli.COMMANDS) - {"demo", "start"}


def logs_to_a_file(command: Command) -> bool:
    """Return whether a command shows the conversation, and not the log."""
    return re.search(r"(?:^|\s)bin/(?:demo|start)\b", command.text) is not None


def looks_on(command: Command) -> bool:
    """Return whether a command prints what happens until it is ended."""
    return re.search(r"\btap echo\b|\bconsole --plain\b", command.text) is not None


@dataclass
class Checkout:
    """A copy of the checkout with this Python as its environment, and a conversation in it."""

    root: Path
    home: Path
    env: dict[str, str]
    keeper: Keeper
    children: list[Child] = field(default_factory=list)

    def start(self, text: str, bus: str) -> Child:
        """Start a command as a shell would, with a bus directory of this name."""
        env = self.env | {"BARGEIN_BUS__DIRECTORY": str(self.home / bus)}
        child = start(["/bin/sh", "-c", text], env, self.keeper, self.root)
        self.children.append(child)
        return child

    def close(self) -> None:
        """End what is left of the commands."""
        for child in self.children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.close()
        self.keeper.close()


def end(child: Child) -> int:
    """Press Ctrl-C; return the exit code, which a shell reports as 130 where a signal was one."""
    if child.running:
        os.killpg(child.pid, signal.SIGINT)
    code = child.wait()
    return 0 if code in (130, -signal.SIGINT) else code


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """Make a copy of the checkout. The path is short, as a path of a socket has to be."""
    with tempfile.TemporaryDirectory(prefix="bargein-") as directory:
        home = Path(directory)
        root = home / "bargein"
        root.mkdir()
        unwanted = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / name, ignore=unwanted)
        for path in ROOT.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, root)
        for path in DOCUMENTS:
            for block in blocks(path.read_text("utf-8")):
                apply(block, root)
        # The environment that runs this test has everything: nothing is to be installed.
        (root / "bin" / "setup.sh").write_text("root=$(pwd)\nset_up() { :; }\n", "utf-8")
        (root / ".venv").symlink_to(sys.prefix)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {
            name: value
            for name, value in os.environ.items()
            if name in ("LANG", "LC_ALL", "TMPDIR") or name.startswith("COVERAGE")
        }
        made = Checkout(
            root,
            home,
            env
            | {
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(root),
                "BARGEIN_LINK__URL": f"ws://127.0.0.1:{port}/v1/realtime",
                # the recorded person talks over an answer after 13 s
                "BARGEIN_CAPTURE__DEVICE": f"file:{root}/services/emulator/voice/person.opus",
                "BARGEIN_PLAYBACK__DEVICE": "null",
            },
            Keeper(),
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def conversation(checkout: Checkout) -> Iterator[Checkout]:
    """Hold a conversation on the bus "talk"."""
    child = checkout.start("bin/demo --seconds 100 --out talk-files", "talk")
    child.wait_line("Ctrl-C ends")
    yield checkout
    end(child)


def test_the_documents_are_found() -> None:
    assert len(DOCUMENTS) > 10
    assert len(RUN) > 15


def test_every_reason_not_to_run_a_command_is_a_known_one() -> None:
    assert {command.mark for command in COMMANDS} - {""} <= MARKS


def fault(checkout: Checkout, command: Command, bus: str) -> str:
    """Run a command, to its end or until it is ready; return what is wrong, or ""."""
    child = checkout.start(command.text, bus)
    try:
        if starts_stages(command):
            if logs_to_a_file(command):
                # The recorder of bin/demo has begun to record by then.
                listens = r"recorder\S* +\| .*listens for " if "demo" in command.text else LISTENS
                log = checkout.home / bus / "bargein.log"
                assert settled(
                    lambda: log.exists() and re.search(listens, log.read_text("utf-8")), PATIENCE_S
                ), child.output
            else:
                child.wait_line(LISTENS)
            code = end(child)
        else:
            code = child.wait()
    except AssertionError as error:
        return f"{command}: {error}"
    return f"{command}: exit code {code}: {child.output}" if code else ""


def test_the_commands_run(conversation: Checkout) -> None:
    watching = {c: conversation.start(c.text, "talk") for c in RUN if looks_on(c)}
    ending = [c for c in RUN if is_end(c)]
    others = [c for c in RUN if not (looks_on(c) or is_end(c))]
    beside = [c for c in others if "bin/bargein" in c.text and not starts_stages(c)]
    alone = [c for c in others if c not in beside]
    # A demo records what a later command reads. Emulators share a port.
    demos = [c for c in alone if "demo" in c.text or not starts_stages(c)]
    stages = [c for c in alone if c not in demos]

    def faults_of(commands: list[Command], bus: str) -> list[str]:
        return [fault(conversation, c, bus.format(number)) for number, c in enumerate(commands)]

    with ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(faults_of, commands, bus)
            for commands, bus in ((beside, "talk"), (demos, "demo-{}"), (stages, "stage-{}"))
        ]
        faults = [found for part in parts for found in part.result()]
    for command, child in watching.items():
        # There has been an interruption by now, or there will be one soon.
        child.wait_line(r"^(\{|\w[\w ]*: )")
        assert end(child) == 0, command
    faults += [fault(conversation, command, "talk") for command in ending]
    assert not any(faults), "\n".join(filter(None, faults))


# the text


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if re.match(r"\w+:", target):
            continue
        name, _, fragment = target.partition("#")
        found = path.parent / name if name else path
        if not found.exists():
            wrong.append(target)
        elif fragment:
            headings = re.findall(r"(?m)^#+ (.+)$", found.read_text("utf-8"))
            if fragment not in map(anchor, headings):
                wrong.append(target)
    assert wrong == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    names = {name_of(path) for path in DOCUMENTS} - {"README.md"}
    assert [name for name in sorted(names) if name not in text] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


def test_the_tests_that_documents_name_exist() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"(?m)^\s*(?:async )?def (test_\w+)", path.read_text("utf-8"))
    } | {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for path in DOCUMENTS:
        named = set(re.findall(r"\b(test_\w+)", path.read_text("utf-8")))
        assert named - there == set(), name_of(path)


def test_the_files_that_documents_name_exist() -> None:
    places = "|".join((*COPIED, "tests"))
    for path in DOCUMENTS:
        # a file of a recipe does not exist
        text = path.read_text("utf-8") if path.stem != "recipes" else ""
        named = set(re.findall(rf"(?<![\w./-])(?:{places})/[\w./-]*\w", text))
        assert [name for name in sorted(named) if not (ROOT / name).exists()] == [], name_of(path)


def test_the_messages_that_troubleshooting_quotes_are_in_the_code() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r'(?m)^\*\*"([^"]+)"', text)
    assert quoted
    code = "".join(
        path.read_text("utf-8")
        for place in ("services", "shared", "commands")
        for path in (ROOT / place).rglob("*.py")
    ) + "".join(path.read_text("utf-8") for path in (ROOT / "bin").iterdir() if path.is_file())
    # "…" and a number stand for what the code fills in.
    parts = [part.strip() for quote in quoted for part in re.split(r"…|\(pid \d+\)", quote)]
    assert [part for part in parts if part not in code] == []


def test_the_functions_that_documents_name_exist() -> None:
    found = 0
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for name, functions in re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", text):
            there = re.findall(r"(?m)^\s*(?:async )?def (\w+)", (ROOT / name).read_text("utf-8"))
            named = re.findall(r"\w+", functions)
            assert set(named) <= set(there), f"{name_of(path)}: {name}: {functions}"
            found += len(named)
    assert found


def members() -> set[str]:
    """Return what the classes of the code define, as ``Class.name``."""
    found = set()
    for place in ("services", "shared", "commands"):
        for path in (ROOT / place).rglob("*.py"):
            for kind in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(kind, ast.ClassDef):
                    for part in kind.body:
                        match part:
                            case ast.FunctionDef(name=name):
                                found.add(f"{kind.name}.{name}")
                            case ast.AnnAssign(target=ast.Name(id=name)):
                                found.add(f"{kind.name}.{name}")
    return found


def test_the_methods_and_fields_that_documents_name_exist() -> None:
    there = members()
    found = 0
    for path in DOCUMENTS:
        # "`Class.name`", and not a file such as "`Procfile.demo`"
        named = set(re.findall(r"`([A-Z]\w*[a-z]\w*\.\w+)`", path.read_text("utf-8")))
        named = {name for name in named if not (ROOT / name).exists()}
        assert named - there == set(), name_of(path)
        found += len(named)
    assert found


def test_the_exit_codes_are_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", text)} == codes
