"""The registry's answers."""

from __future__ import annotations

import dataclasses

import pytest

from shared import messages, topics
from shared.topics import Queue

pytestmark = pytest.mark.unit


def test_a_message_type_finds_its_topic() -> None:
    assert topics.of(messages.MicFrame).name == "mic.frame"
    assert topics.of(messages.Flush).name == "flush"
    for topic in topics.TOPICS:
        if topic.type is not messages.Health:
            assert topics.of(topic.type) is topic


def test_health_has_a_topic_for_each_stage() -> None:
    with pytest.raises(KeyError):
        topics.of(messages.Health)
    for stage in (*topics.STAGES, *topics.LISTENERS):
        row = topics.health(stage)
        assert (row.name, row.publisher, row.type) == (f"{stage}.health", stage, messages.Health)


def test_a_publisher_finds_its_topics() -> None:
    found = [
        row for stage in {t.publisher for t in topics.TOPICS} for row in topics.published_by(stage)
    ]
    assert sorted(t.name for t in found) == sorted(t.name for t in topics.TOPICS)
    assert {t.publisher for t in topics.published_by("link")} == {"link"}
    assert topics.published_by("nobody") == ()


def test_a_topic_is_published_on_its_publishers_endpoint_or_its_own() -> None:
    flush = topics.of(messages.Flush)
    assert flush.endpoint == "flush"
    assert dataclasses.replace(flush, own_endpoint=False).endpoint == "downlink"
    assert topics.of(messages.ReplyAudio).endpoint == "downlink"


def test_what_must_not_be_lost_has_the_longest_queue() -> None:
    assert Queue.LOSSLESS.value > 10 * Queue.STATE.value > Queue.LIVE.value
