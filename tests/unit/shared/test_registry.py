"""The registry: looking up stages and topics."""

from __future__ import annotations

import dataclasses

import pytest

from shared import messages, registry
from shared.registry import Queue

pytestmark = pytest.mark.unit


def test_a_message_type_finds_its_topic() -> None:
    assert registry.of(messages.MicFrame).name == "mic.frame"
    assert registry.of(messages.Flush).name == "flush"
    for topic in registry.TOPICS:
        if topic.type is not messages.Health:
            assert registry.of(topic.type) is topic


def test_health_has_a_topic_for_each_stage() -> None:
    with pytest.raises(KeyError):
        registry.of(messages.Health)
    for stage in registry.PROCESSES:
        row = registry.health(stage)
        assert (row.name, row.publisher, row.type) == (f"{stage}.health", stage, messages.Health)


def test_a_publisher_finds_its_topics() -> None:
    found = [
        row
        for stage in {t.publisher for t in registry.TOPICS}
        for row in registry.published_by(stage)
    ]
    assert sorted(t.name for t in found) == sorted(t.name for t in registry.TOPICS)
    assert {t.publisher for t in registry.published_by("link")} == {"link"}
    assert registry.health("link") in registry.published_by("link")
    assert registry.published_by("nobody") == ()


def test_a_stage_finds_the_topics_that_it_reads() -> None:
    assert [topic.name for topic in registry.read_by("echo")] == [
        "mic.frame",
        "speaker.frame",
        "panel",
    ]
    with pytest.raises(KeyError):
        registry.read_by("nobody")


def test_a_process_is_a_stage_or_optional_or_a_listener() -> None:
    kinds = (*registry.STAGES, *registry.OPTIONAL, *registry.LISTENERS)
    assert kinds == registry.PROCESSES


def test_a_topic_is_published_on_its_publishers_endpoint_or_its_own() -> None:
    flush = registry.of(messages.Flush)
    assert flush.endpoint == "flush"
    assert dataclasses.replace(flush, own_endpoint=False).endpoint == "downlink"
    assert registry.of(messages.ReplyAudio).endpoint == "downlink"


def test_lossless_topics_have_the_longest_queue() -> None:
    assert Queue.LOSSLESS.value > 10 * Queue.STATE.value > Queue.LIVE.value
