"""The registry of topics, and those who have to agree with it."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from shared import bus, messages, registry
from shared.registry import Queue, Topic

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
every_topic = pytest.mark.parametrize("topic", registry.TOPICS, ids=lambda topic: topic.name)


# the registry itself


def test_every_name_is_there_once() -> None:
    names = [topic.name for topic in registry.TOPICS]
    assert len(set(names)) == len(names)
    assert list(registry.BY_NAME) == names


def test_no_name_is_the_beginning_of_another() -> None:
    # a subscription is a prefix: such a reader would be sent what it did not ask for
    pairs = itertools.permutations((topic.name for topic in registry.TOPICS), 2)
    assert [(a, b) for a, b in pairs if b.startswith(a)] == []


def test_every_message_has_one_topic() -> None:
    types = [topic.type for topic in registry.TOPICS if topic.type is not messages.Health]
    assert len(set(types)) == len(types)
    assert {*types, messages.Health} == set(messages.Message.__subclasses__())


def test_every_stage_tells_its_health() -> None:
    told = {
        topic.name: topic.publisher for topic in registry.TOPICS if topic.type is messages.Health
    }
    assert told == {f"{stage}.health": stage for stage in (*registry.STAGES, *registry.LISTENERS)}


@every_topic
def test_its_publisher_is_known(topic: Topic) -> None:
    # one field holds it, so there is one; and a process of that name
    known = {*registry.STAGES, *registry.LISTENERS}
    if topic.publisher != registry.CONTROL:
        assert topic.publisher in known
        services = ROOT / "services"
        module, package = services / f"{topic.publisher}.py", services / topic.publisher
        assert module.is_file() or (package / "__init__.py").is_file()


@every_topic
def test_its_row_makes_sense(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z]+)*", topic.name)
    assert topic.rate_hz >= 0
    # dropping by age is for what is live: anything else would be lost unseen
    assert topic.max_age_ms == 0 or topic.queue is Queue.LIVE
    if topic.queue is Queue.LIVE:
        assert topic.rate_hz
    # a queue of what is said once holds at least a second of what is said often
    assert topic.queue.value >= topic.rate_hz


def test_endpoints_of_different_publishers_differ() -> None:
    publishers: dict[str, set[str]] = {}
    for topic in registry.TOPICS:
        publishers.setdefault(topic.endpoint, set()).add(topic.publisher)
    assert {name: who for name, who in publishers.items() if len(who) > 1} == {}
    # on a file system that does not tell capitals from small letters too
    assert len({name.lower() for name in publishers}) == len(publishers)


def test_a_flush_waits_behind_nothing() -> None:
    endpoint = registry.of(messages.Flush).endpoint
    assert [topic.name for topic in registry.TOPICS if topic.endpoint == endpoint] == ["flush"]


@every_topic
def test_its_endpoint_fits_in_a_socket_path(topic: Topic) -> None:
    path = os.fsencode(f"/{topic.endpoint}.ipc")
    # where it is by default: macOS has the longest temporary directory
    for base in (
        "/run/user/4294967294/bargein",
        "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/bargein-4294967294",
        "/tmp/bargein-4294967294",
    ):
        assert len(os.fsencode(base) + path) <= bus.MAX_PATH
    assert topic.endpoint.isascii()


# the Procfiles


def procfile(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def test_the_procfile_starts_the_stages() -> None:
    found = procfile("Procfile")
    assert set(found) == set(registry.STAGES)
    for stage, command in found.items():
        kept = "" if stage == "link" else "unset OPENAI_API_KEY; "
        assert command == f"{kept}exec python -u -m services.{stage}"


def test_the_demos_procfile_starts_them_with_an_emulator_and_a_recorder() -> None:
    found = procfile("Procfile.demo")
    assert set(found) == {*registry.STAGES, "emulator", "recorder"}
    for stage, command in found.items():
        assert command.endswith(f"exec python -u -m services.{stage}")


# ARCHITECTURE.md

ARCHITECTURE = ROOT / "ARCHITECTURE.md"
COLUMNS = ["topic", "publisher", "type", "queue", "rate"]


def row(topic: Topic) -> list[str]:
    """Give what the table should say of a topic."""
    return [
        topic.name,
        topic.publisher,
        topic.type.__name__,
        topic.queue.name.lower(),
        f"{topic.rate_hz:g}",
    ]


def written(text: str) -> list[list[str]]:
    """Give the rows of a document's table of topics, without the marks around their words."""
    lines = text.splitlines()
    headings = [n for n, line in enumerate(lines) if line == f"| {' | '.join(COLUMNS)} |"]
    assert len(headings) == 1, "no one table of topics"
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[headings[0] + 2 :])
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]


def test_the_documented_topics_are_the_registry() -> None:
    found = written(ARCHITECTURE.read_text("utf-8"))
    assert sorted(found) == sorted(row(topic) for topic in registry.TOPICS)


def test_the_documented_layout_is_there() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    named = set(
        re.findall(
            r"(?<![\w./])(?:services|shared|commands|harness|tests|benchmarks)/[\w/.]*", text
        )
    )
    assert len(named) > 5
    missing = sorted(name for name in named if not (ROOT / name.rstrip(".")).exists())
    assert missing == []
