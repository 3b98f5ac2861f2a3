"""The events that wait to be sent to the server."""

from __future__ import annotations

import pytest

from services.link.outbox import LONGEST, Outbox
from shared import messages

pytestmark = pytest.mark.unit


def test_no_more_wait_than_there_is_room_for() -> None:
    outbox = Outbox()
    for n in range(LONGEST + 3):
        outbox.put(messages.ClientEvent(session=n))
    assert outbox.expired == 3
    sent = 0
    while (event := outbox.first(1)) is not None:
        assert event.session == sent
        outbox.remove_first()
        sent += 1
    assert sent == LONGEST
