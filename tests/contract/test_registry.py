"""The registry, and the files that must agree with it."""

from __future__ import annotations

import ast
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import tap
from shared import messages, registry
from shared.directory import MAX_PATH
from shared.registry import Queue, Role, StageRow, Topic

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
every_topic = pytest.mark.parametrize("topic", registry.TOPICS, ids=lambda topic: topic.name)
every_stage = pytest.mark.parametrize("name", registry.PROCESSES)
#: The one package under services/ that is not on the bus: a server for the tests and the demo.
EMULATOR = "emulator"
#: The roles of the processes that consume what they read.
CONSUMERS = (Role.STAGE, Role.OPTIONAL)


# the registry itself


def test_every_name_is_there_once() -> None:
    names = [topic.name for topic in registry.TOPICS]
    assert len(set(names)) == len(names)
    assert list(registry.BY_NAME) == names


def test_no_name_is_the_beginning_of_another() -> None:
    # A subscription is a prefix: a reader of the shorter name would get the longer one as well.
    pairs = itertools.permutations((topic.name for topic in registry.TOPICS), 2)
    assert [(a, b) for a, b in pairs if b.startswith(a)] == []


def test_every_message_has_one_topic() -> None:
    types = [topic.type for topic in registry.TOPICS if topic.type is not messages.Health]
    assert len(set(types)) == len(types)
    assert {*types, messages.Health} == set(messages.kinds())


def test_every_stage_tells_its_health() -> None:
    told = {
        topic.name: topic.publisher for topic in registry.TOPICS if topic.type is messages.Health
    }
    assert told == {f"{stage}.health": stage for stage in registry.PROCESSES}


def test_every_topic_is_in_the_row_of_one_publisher() -> None:
    published = [name for row in registry.ROWS for name in row.publishes]
    health = [topic.name for topic in registry.TOPICS if topic.type is messages.Health]
    assert sorted(published + health) == sorted(registry.BY_NAME)


@pytest.mark.parametrize("row", registry.ROWS, ids=lambda row: row.name)
def test_a_row_names_each_topic_once(row: StageRow) -> None:
    assert len(set(row.reads)) == len(row.reads)
    assert set(row.reads) <= set(registry.BY_NAME)
    assert not set(row.reads) & set(row.publishes)
    if row.role is Role.LISTENER:
        assert row.observes
        assert not row.publishes


def test_every_topic_but_the_records_for_a_person_has_a_reader() -> None:
    """Only observers read the record of an interruption, the costs, and the device's calls."""
    read = {name for row in registry.ROWS if not row.observes for name in row.reads}
    published = {name for row in registry.ROWS for name in row.publishes}
    assert published - read == {"interruption", "usage", "speaker.calls"}


@every_topic
def test_its_row_makes_sense(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z]+)*", topic.name)
    assert topic.rate_hz >= 0
    # Only a live topic may lose messages by age: with the others a loss would not be noticed.
    assert topic.max_age_ms == 0 or topic.queue is Queue.LIVE
    if topic.queue is Queue.LIVE:
        assert topic.rate_hz
    # The queue holds at least one second of messages.
    assert topic.queue.value >= topic.rate_hz


def test_endpoints_of_different_publishers_differ() -> None:
    publishers: dict[str, set[str]] = {}
    for topic in registry.TOPICS:
        publishers.setdefault(topic.endpoint, set()).add(topic.publisher)
    assert {name: who for name, who in publishers.items() if len(who) > 1} == {}
    # They also differ on a file system that ignores case.
    assert len({name.lower() for name in publishers}) == len(publishers)


def test_a_flush_waits_behind_nothing() -> None:
    endpoint = registry.of(messages.Flush).endpoint
    assert [topic.name for topic in registry.TOPICS if topic.endpoint == endpoint] == ["flush"]


@every_topic
def test_its_endpoint_fits_in_a_socket_path(topic: Topic) -> None:
    path = os.fsencode(f"/{topic.endpoint}.ipc")
    # The default directories; macOS has the longest temporary directory.
    for base in (
        "/run/user/4294967294/bargein",
        "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/bargein-4294967294",
        "/tmp/bargein-4294967294",
    ):
        assert len(os.fsencode(base) + path) <= MAX_PATH
    assert topic.endpoint.isascii()


# the "one row" test: every other list of stages agrees with the registry


def procfile(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def target() -> list[str]:
    """Return the instances of bargein@.service that bargein.target starts."""
    text = (ROOT / "systemd" / "bargein.target").read_text("utf-8")
    return re.findall(r"bargein@(\w+)\.service", text)


def table(*columns: str) -> list[list[str]]:
    """Return the rows of the documents' table with these headings, without marks around words."""
    documents = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    heading = f"| {' | '.join(columns)} |"
    found = [
        list(itertools.takewhile(lambda line: line.startswith("|"), lines[number + 2 :]))
        for lines in (document.read_text("utf-8").splitlines() for document in documents)
        for number, line in enumerate(lines)
        if line == heading
    ]
    assert found, f"no document has a table of {' | '.join(columns)}"
    # More than one document may have the table: then all of them must say the same.
    rows = [
        [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
        for lines in found
    ]
    assert all(sorted(each) == sorted(rows[0]) for each in rows)
    return rows[0]


def tapped(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the topics that ``tap list`` prints."""
    tap._list({})
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]


def packages() -> list[str]:
    return [path.parent.name for path in (ROOT / "services").glob("*/__main__.py")]


@pytest.mark.parametrize(
    ("listed", "others"),
    [
        (lambda: procfile("Procfile"), []),
        (lambda: procfile("Procfile.demo"), [*registry.LISTENERS, EMULATOR]),
        (target, []),
        (lambda: [row[0] for row in table("stage", "reads", "publishes")], []),
        (packages, [*registry.LISTENERS, EMULATOR]),
    ],
    ids=["Procfile", "Procfile.demo", "bargein.target", "documents", "services"],
)
def test_every_list_of_stages_has_each_row(
    listed: Callable[[], list[str]], others: list[str]
) -> None:
    assert sorted(listed()) == sorted([*registry.STAGES, *registry.OPTIONAL, *others])


def test_the_procfiles_run_the_stages_packages() -> None:
    for stage, command in procfile("Procfile").items():
        kept = "" if stage == "link" else "unset OPENAI_API_KEY; "
        assert command == f"{kept}exec python -u -m services.{stage}"
    for stage, command in procfile("Procfile.demo").items():
        assert f"exec python -u -m services.{stage}" in command


def test_the_documented_stages_are_the_registrys() -> None:
    documented = {
        name: (set(re.findall(r"[a-z.]+", reads)), set(re.findall(r"[a-z.]+", publishes)))
        for name, reads, publishes in table("stage", "reads", "publishes")
    }
    assert documented == {
        row.name: (set(row.reads), set(row.publishes))
        for row in registry.ROWS
        if row.role in CONSUMERS
    }


def test_the_documented_topics_are_the_registrys() -> None:
    assert sorted(table("topic", "publisher", "type", "queue", "rate")) == sorted(
        [
            topic.name,
            topic.publisher,
            topic.type.__name__,
            topic.queue.name.lower(),
            f"{topic.rate_hz:g}",
        ]
        for topic in registry.TOPICS
    )


def test_no_document_counts_the_stages() -> None:
    """The registry alone says how many stages there are: a number in a text would become wrong."""
    numbers = "three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    counted = re.compile(rf"(?i)\b(?:{numbers})\s+(?:\w+\s+)?(?:stages|processes)\b")
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("Procfile*")]
    texts += [*ROOT.glob("systemd/*"), ROOT / "config.toml"]
    found = {
        path.name: counted.findall(path.read_text("utf-8")) for path in texts if path.is_file()
    }
    assert {name: said for name, said in found.items() if said} == {}


def test_the_tap_lists_every_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert tapped(capsys) == list(registry.BY_NAME)


def subscriptions(text: str) -> set[str]:
    """Return the topics to which a module subscribes: its calls ``….subscribe(messages.X, …)``."""
    return {
        registry.of(getattr(messages, call.args[0].attr)).name
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "subscribe"
        and isinstance(call.args[0], ast.Attribute)
        and call.args[0].attr != "Health"
    }


@every_stage
def test_a_stage_subscribes_to_what_its_row_says(name: str) -> None:
    """``Stage.subscribe`` refuses a topic that the row lacks; here none is there for nothing."""
    texts = [path.read_text("utf-8") for path in (ROOT / "services" / name).glob("*.py")]
    found = set[str]().union(*map(subscriptions, texts))
    health = {topic.name for topic in registry.TOPICS if topic.type is messages.Health}
    assert found == set(registry.stage(name).reads) - health


# ARCHITECTURE.md


def test_the_documented_layout_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = set(
        re.findall(
            r"(?<![\w./])(?:services|shared|commands|harness|tests|benchmarks)/[\w/.]*", text
        )
    )
    assert len(named) > 5
    missing = sorted(name for name in named if not (ROOT / name.rstrip(".")).exists())
    assert missing == []
