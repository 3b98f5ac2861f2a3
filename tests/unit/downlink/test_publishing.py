"""When downlink publishes the state of the replies."""

from __future__ import annotations

import pytest

from harness.owner import StandIn
from services.downlink.history import History
from services.downlink.objects import Response
from services.downlink.publishing import STATES_AT_ONCE, Publishing
from services.downlink.replies import Replies
from shared import messages

pytestmark = pytest.mark.unit


@pytest.fixture
def stage() -> StandIn:
    return StandIn()


@pytest.fixture
def replies() -> Replies:
    return Replies(generation=1, session=1)


@pytest.fixture
def publishing(stage: StandIn, replies: Replies) -> Publishing:
    return Publishing(stage, replies, History())


def states(stage: StandIn) -> list[messages.ReplyState]:
    return [said for said in stage.published if isinstance(said, messages.ReplyState)]


def test_a_change_is_published_at_once_and_only_once(
    stage: StandIn, replies: Replies, publishing: Publishing
) -> None:
    for number in range(3):
        replies.response_created(Response(f"resp_{number}", "in_progress"))
        publishing.publish_state()
        publishing.publish_state()
        assert len(states(stage)) == number + 1
        stage.pass_time()
    assert states(stage)[-1].active == ["resp_0", "resp_1", "resp_2"]


def test_a_server_that_begins_more_and_more_does_not_make_more_and_more_messages(
    stage: StandIn, replies: Replies, publishing: Publishing
) -> None:
    for number in range(10 * STATES_AT_ONCE):
        replies.response_created(Response(f"resp_{number}", "in_progress"))
        publishing.publish_state()
    assert len(states(stage)) == STATES_AT_ONCE
    # A flush says it at once.
    flush = replies.flush("speech_started", 0)
    publishing.publish_state(now=True)
    assert states(stage)[-1].generation == flush.generation
    # What was left out comes soon.
    replies.response_created(Response("last", "in_progress"))
    publishing.publish_state()
    assert "last" not in states(stage)[-1].active
    stage.pass_time()
    assert states(stage)[-1].active[-1] == "last"
    assert len(states(stage)) == STATES_AT_ONCE + 2
