"""Uplink's part in interruptions: requests go to the session that they are about, or to none."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from services.uplink.interruptions import Interruptions
from shared import messages

pytestmark = pytest.mark.unit

SECOND = 24_000
#: The session of the reply, and the one that link opens next.
OLD, NEW = 3, 4


class Owner:
    """A stage that keeps what is published, and whose timers never ring by themselves."""

    ok = True
    log = logging.getLogger("test")

    def __init__(self) -> None:
        self.published: list[messages.Message] = []
        self.due: list[Callable[[], None]] = []

    def publish(self, message: messages.Message) -> int:
        self.published.append(message)
        return 0

    def after(self, seconds: float, handler: Callable[[], None]) -> None:
        self.due.append(handler)

    def count(self, what: str, number: int = 1, warning: str = "") -> None:
        pass


class Rig:
    """Interruptions with one reply under way in the session OLD."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.sent: list[str] = []
        self.session = OLD
        self.interruptions = Interruptions(
            self.owner,
            lambda event: self.sent.append(json.loads(event)["type"]),
            lambda: None,
            lambda: self.session,
            server_cancels=False,
        )
        self.state(messages.ItemState("resp", "item", 0, SECOND, False, False))

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

    def report(self) -> None:
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
                items=[messages.HeardItem("item", 0, SECOND // 2, SECOND, False)],
            )
        )


def test_the_session_of_the_reply_is_told() -> None:
    rig = Rig()
    rig.flush()
    rig.report()
    assert rig.sent == ["response.cancel", "conversation.item.truncate"]


@pytest.mark.parametrize("session", [NEW, 0])
def test_another_session_is_told_nothing(session: int) -> None:
    rig = Rig()
    rig.flush()
    rig.session = session
    rig.report()
    assert rig.sent == ["response.cancel"]
    [record] = rig.owner.published
    assert isinstance(record, messages.Interruption)
    assert [report.action for report in record.reports] == ["none"]


def test_a_flush_that_nobody_reports_tells_another_session_nothing() -> None:
    rig = Rig()
    rig.flush()
    rig.session = NEW
    for handler in rig.owner.due:
        handler()
    assert rig.sent == ["response.cancel"]


def test_another_session_has_no_response_to_cancel_and_no_item_to_delete() -> None:
    rig = Rig()
    rig.session = NEW
    rig.flush()
    rig.state(messages.ItemState("resp", "late", 0, 500, True, False, late=True))
    assert rig.sent == []
