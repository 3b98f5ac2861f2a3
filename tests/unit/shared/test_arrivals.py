"""Whether messages arrive on the topics that a stage reads."""

from __future__ import annotations

import pytest

from shared import registry
from shared.arrivals import Arrivals

pytestmark = pytest.mark.unit

LIVE, STATE, LOSSLESS = (
    registry.BY_NAME[name] for name in ("mic.frame", "link.state", "client.event")
)
EVENTS = registry.BY_NAME["session.renew"]


def judged(arrivals: Arrivals, *steps: tuple[str, int]) -> list[tuple[list[str], list[str]]]:
    """Return the judgement of each second in which so many messages of a topic arrive."""
    found = []
    for second, (name, number) in enumerate(steps, 1):
        arrivals.received[name] += number
        found.append(arrivals.judge(second))
    return found


def test_a_live_topic_is_silent_after_three_seconds_without_a_message() -> None:
    arrivals = Arrivals([LIVE], 0)
    steps = [("mic.frame", n) for n in (0, 0, 0, 0, 50, 0, 0, 0, 0)]
    silent = [bool(silent) for silent, _ in judged(arrivals, *steps)]
    assert silent == [False, False, False, True, False, False, False, False, True]
    assert arrivals.received == {"mic.frame": 50}


@pytest.mark.parametrize(
    ("rate", "off"), [(50, False), (41, False), (59, False), (39, True), (61, True), (1, True)]
)
def test_a_live_topic_must_keep_its_rate(rate: int, off: bool) -> None:
    found = judged(Arrivals([LIVE], 0), *[("mic.frame", rate)] * 8)
    assert found[:5] == [([], [])] * 5
    assert found[5:] == [([], ["mic.frame"] if off else [])] * 3


def test_a_silent_topic_is_not_off_its_rate_as_well() -> None:
    found = judged(Arrivals([LIVE], 0), *[("mic.frame", 50)] * 6, *[("mic.frame", 0)] * 6)
    assert found[-1] == (["mic.frame"], [])


def test_a_state_topic_is_judged_from_its_first_message_on() -> None:
    arrivals = Arrivals([STATE], 0)
    assert judged(arrivals, *[("link.state", 0)] * 30) == [([], [])] * 30
    arrivals = Arrivals([STATE], 0)
    found = judged(arrivals, ("link.state", 1), *[("link.state", 0)] * 11)
    assert found[:11] == [([], [])] * 11
    assert found[11] == (["link.state"], [])


def test_the_rate_of_a_state_topic_may_be_higher() -> None:
    assert judged(Arrivals([STATE], 0), *[("link.state", 9)] * 8) == [([], [])] * 8


@pytest.mark.parametrize("topic", [LOSSLESS, EVENTS], ids=lambda topic: topic.name)
def test_other_topics_are_only_counted(topic: registry.Topic) -> None:
    arrivals = Arrivals([topic], 0)
    steps = [(topic.name, 1), *[(topic.name, 0)] * 30]
    assert judged(arrivals, *steps) == [([], [])] * 31
    assert arrivals.received == {topic.name: 1}
