"""Uplink's part in interruptions: the server is told once, whatever comes late or is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.owner import StandIn
from services.uplink.interruptions import Interruptions
from shared import messages

pytestmark = pytest.mark.unit

SECOND = 24_000
#: The session of the reply, and the one that link opens next.
OLD, NEW = 3, 4
CUT = messages.HeardItem("item", 0, SECOND // 2, SECOND, False, cut=True)
TELLS = {"conversation.item.truncate", "conversation.item.delete"}


class Rig:
    """Interruptions with one reply under way in the session OLD."""

    def __init__(self) -> None:
        self.owner = StandIn()
        self.sent: list[str] = []
        self.session = OLD
        self.begin()
        self.state(messages.ItemState("resp", "item", 0, SECOND, False, False))

    def begin(self) -> None:
        """Start an uplink, which knows nothing of the one before it."""
        self.owner.timers.clear()
        self.interruptions = Interruptions(
            self.owner,
            lambda event: self.sent.append(json.loads(event)["type"]),
            lambda: None,
            lambda: self.session,
            server_cancels=False,
        )

    def ring(self) -> None:
        """Let the timers ring that have been set so far."""
        self.owner.pass_time()

    def state(self, *items: messages.ItemState) -> None:
        self.interruptions.reply_state(
            messages.ReplyState(generation=1, session=OLD, active=["resp"], items=list(items))
        )

    def flush(self) -> None:
        self.interruptions.flush(
            messages.Flush(
                generation=2,
                session=OLD,
                cause="control",
                event_ns=1,
                received=[messages.Received("item", 0, SECOND, False)],
                interrupted=["resp"],
                active=["resp"],
            )
        )

    def heard(self, *, cut: bool = True) -> None:
        item = messages.HeardItem("item", 0, SECOND // 2, SECOND, False, cut=cut)
        self.interruptions.heard(
            messages.Heard(generation=2 if cut else 1, session=OLD, playing=not cut, items=[item])
        )

    def report(self, *items: messages.HeardItem) -> None:
        self.interruptions.flush_report(
            messages.FlushReport(
                generation=2,
                session=OLD,
                cause="control",
                event_ns=1,
                flush_ns=1,
                received_ns=1,
                silent_ns=1,
                latency_ns=0,
                items=list(items),
            )
        )


def test_the_session_of_the_reply_gets_the_report() -> None:
    rig = Rig()
    rig.flush()
    rig.report(CUT)
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]


@pytest.mark.parametrize("session", [NEW, 0])
def test_another_session_gets_no_report(session: int) -> None:
    rig = Rig()
    rig.flush()
    rig.session = session
    rig.report(CUT)
    assert rig.sent == ["response.cancel"]
    [record] = rig.owner.published
    assert isinstance(record, messages.Interruption)
    assert [report.action for report in record.reports] == ["none"]


def test_a_flush_that_nobody_reports_tells_another_session_nothing() -> None:
    rig = Rig()
    rig.flush()
    rig.session = NEW
    rig.ring()
    assert rig.sent == ["response.cancel"]


def test_another_session_has_no_response_to_cancel_and_no_item_to_delete() -> None:
    rig = Rig()
    rig.session = NEW
    rig.flush()
    rig.state(messages.ItemState("resp", "late", 0, 500, True, False, late=True))
    assert rig.sent == []


def known(*, truncated: bool) -> messages.ItemState:
    return messages.ItemState("resp", "item", 0, SECOND, False, truncated)


@pytest.mark.parametrize("first", ["heard", "state", "link"])
def test_an_uplink_that_was_away_reports_the_cut_in_whatever_order_the_states_come(
    first: str,
) -> None:
    rig = Rig()
    rig.begin()
    rig.session = 0
    if first == "link":
        rig.session = OLD
    elif first == "state":
        rig.state(known(truncated=False))
    else:
        rig.heard()
    # The states come much later: a machine that is busy connects to one publisher long before it
    # connects to another one.
    rig.ring()
    rig.session = OLD
    rig.state(known(truncated=False))
    rig.heard()
    rig.ring()
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]
    # Playback repeats its playhead, and the confirmation is on its way.
    rig.heard()
    rig.ring()
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]


def test_an_uplink_that_was_away_reports_no_cut_that_the_server_has_confirmed() -> None:
    rig = Rig()
    rig.begin()
    rig.heard()
    rig.state(known(truncated=False))
    rig.state(known(truncated=True))
    rig.ring()
    assert rig.sent == []


def test_the_server_is_told_of_a_flush_that_neither_comes_nor_is_reported() -> None:
    rig = Rig()
    rig.heard(cut=False)
    rig.ring()
    rig.heard()
    assert rig.sent == []
    rig.ring()
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]


def test_the_server_is_told_of_an_earlier_cut_after_a_newer_flush() -> None:
    rig = Rig()
    rig.begin()
    rig.state(known(truncated=False))
    # Playback has carried out both flushes. This uplink sees the second one alone.
    rig.flush()
    rig.report()
    rig.heard()
    rig.ring()
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]


@given(
    st.lists(
        st.sampled_from(["heard", "state", "flush", "report", "ring", "restart", "lost", "open"]),
        max_size=14,
    )
)
def test_each_uplink_tells_the_server_once_in_any_order_of_messages(
    steps: list[str],
) -> None:
    rig = Rig()
    begun = 0  # the requests that the uplinks before this one had sent
    for step in steps:
        match step:
            case "heard":
                rig.heard()
            case "state":
                rig.state(known(truncated=not TELLS.isdisjoint(rig.sent[:begun])))
            case "flush":
                rig.flush()
            case "report":
                rig.report(CUT)
            case "ring":
                rig.ring()
            case "restart":
                begun = len(rig.sent)
                rig.begin()
            case "lost":
                rig.session = 0
            case "open":
                rig.session = OLD
        assert sum(request in TELLS for request in rig.sent[begun:]) <= 1
    if rig.session != OLD:
        # The session is lost, and the next one gets the conversation as text.
        return
    # The states are repeated every second.
    for _ in range(2):
        rig.state(known(truncated=not TELLS.isdisjoint(rig.sent[:begun])))
        rig.heard()
        rig.ring()
    if "lost" not in steps:
        assert not TELLS.isdisjoint(rig.sent)
    assert sum(request in TELLS for request in rig.sent[begun:]) <= 1
