"""Names of the response and the item in events in which the server leaves them out. Pure.

The API names the response and the item in each event with audio or words. Some servers leave out
one of the two names, or both.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec.structs import replace

from services.downlink import events
from services.downlink.responses import REMEMBERED, Responses
from shared.oldest import drop_oldest

#: Prefix of an item's name that downlink makes up. The name of the response follows.
OURS = "item_without_id_of_"


class ReplyNames:
    """Says which response and which item an event is about."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._items: OrderedDict[str, str] = OrderedDict()  # the last item of each response

    def named(self, event: events.Event) -> events.Event | None:
        """Return an event with both names; None if it can be about more than one response."""
        if isinstance(event, events.OutputItemAdded) and event.item.type == "message":
            self._items[event.response_id] = event.item.id
            self._items.move_to_end(event.response_id)
            drop_oldest(self._items, REMEMBERED)
        if not isinstance(event, events.SPOKEN) or (event.response_id and event.item_id):
            return event
        response_id = event.response_id or self._response_of(event.item_id)
        if not response_id:
            active = self._responses.under_way()
            if len(active) != 1:
                return None
            [response_id] = active
        item_id = event.item_id or self._items.get(response_id, f"{OURS}{response_id}"[:512])
        return replace(event, response_id=response_id, item_id=item_id)

    def _response_of(self, item_id: str) -> str:
        """Return the response of an item; "" if it is not known."""
        found = (name for name, item in self._items.items() if item_id and item == item_id)
        return next(found, "")
