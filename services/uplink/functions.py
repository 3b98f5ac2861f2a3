"""The functions that the model may call: requests that offer them, and their outputs.

``Updates`` decides how the functions are offered. ``CallOutputs`` decides which outputs the server
still has to get. This module joins the two with the time and with what comes over the bus.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.uplink import requests
from services.uplink.call_outputs import CallOutputs
from services.uplink.updates import Updates
from shared import codec, messages
from shared.config import mcp_file
from shared.owner import Owner
from shared.settings import Tools

#: How often uplink checks for how long a call has run, s.
LOOK_S = 0.5
#: How many refused functions the health shows.
SHOWN = 5
#: How long the first request for an answer waits for the functions, s. Tools makes its first offer
#: after 5 s at the latest, and both processes need about a second to start.
FIRST_OFFER_S = 6.0


def configured(settings: Tools, home: Path) -> bool:
    """Return whether the settings name functions, so that tools offers some if it runs."""
    return bool(settings.modules) or mcp_file(settings, home).is_file()


class Functions:
    """Offers the functions to the server, and sends what they return.

    ``send`` sends a request to the server. ``open_session`` returns the session that gets it, 0 if
    none is open.
    """

    def __init__(
        self,
        stage: Owner,
        updates: Updates,
        send: Callable[[bytes], None],
        open_session: Callable[[], int],
        clock_ns: Callable[[], int],
    ) -> None:
        self._stage = stage
        self._updates = updates
        self._send = send
        self._open_session = open_session
        self._clock_ns = clock_ns
        self._outputs = CallOutputs()
        self._ready_session = 0  # the session that has the conversation so far
        self._looking = False
        self._playing = self._speaking = False
        self._link = "connecting"
        self._reported: set[str] = set()  # the functions that the server refuses
        #: Whether a new session may be asked for answers: it has the functions, or waiting for them
        #: has ended.
        self.settled = True
        self._go_on: Callable[[], None] | None = None

    def wait(self, home: Path, go_on: Callable[[], None]) -> None:
        """Wait for the first offer, and then call ``go_on``, after FIRST_OFFER_S at the latest.

        Without configured functions nothing waits. ``home``: the directory of config.toml.
        """
        if configured(self._stage.config.tools, home):
            self.settled, self._go_on = False, go_on
            self._stage.after(FIRST_OFFER_S, self._settle)

    def _settle(self) -> None:
        self.settled = True
        go_on, self._go_on = self._go_on, None
        if go_on is not None:
            go_on()

    # what tools publishes

    def offer(self, offer: messages.ToolOffer) -> None:
        """Take the functions that the model may call."""
        try:
            updates = self._updates.offer(codec.read_offer(offer.payload))
        except codec.BadMessage as error:
            self._stage.count("bad_offers", warning=f"the functions from tools: {error}")
            return
        if self._open_session():
            for update in updates:
                self._send(update)
        self._settle()
        self.show(self._link)

    def show(self, link: str) -> None:
        """Show the link's state in the health, and the functions that the server refuses.

        Each refusal is logged once, until the server takes the function.
        """
        self._link = link
        troubles = self._updates.troubles()
        self._reported &= troubles.keys()
        lines = []
        for name, why in troubles.items():
            one = f"the server refuses the function {name!r}"
            lines.append(one if name else "the server refuses the functions")
            if name not in self._reported:
                self._reported.add(name)
                self._stage.count("functions_refused", warning=f"{lines[-1]}: {why}")
        self._stage.ok = not troubles
        self._stage.state = "; ".join([f"link is {link}", *lines[:SHOWN]])

    def result(self, result: messages.ToolResult, stamp: messages.Stamp) -> None:
        """Take what a function returned."""
        try:
            output = codec.read_output(result.payload)
        except codec.BadMessage as error:
            self._stage.count("bad_outputs", warning=f"the output of {result.name}: {error}")
            return
        if not self._outputs.result(result, output, f"{stamp.epoch} {stamp.seq}"):
            self._stage.count("outputs_too_late")
        self._send_outputs()

    def state(self, state: messages.ToolState) -> None:
        """Take the calls that tools has taken and not answered."""
        self._outputs.listed(state, self._clock_ns())
        self._look_later()

    # the conversation

    def history(self, turns: list[messages.HistoryTurn]) -> None:
        """Take the conversation so far."""
        self._outputs.history(turns, self._clock_ns())
        self._look_later()

    def begin(self, session: int) -> None:
        """Send a session the outputs that it lacks, once it has the conversation so far."""
        self._ready_session = session
        self._send_outputs()

    def heard(self, heard: messages.Heard) -> None:
        """Note whether the assistant is heard."""
        self._playing = heard.playing

    def reply_state(self, state: messages.ReplyState) -> None:
        """Note whether the assistant or the person speaks."""
        self._speaking = bool(state.active) or state.speaking

    def _send_outputs(self) -> None:
        session = self._open_session()
        if session and session == self._ready_session:
            for request in self._outputs.to_send(session, self._clock_ns()):
                self._send(request)

    # by time

    def _look_later(self) -> None:
        if self._outputs.busy() and not self._looking:
            self._looking = True
            self._stage.after(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = False
        self._send_outputs()
        settings = self._stage.config.tools
        quiet = not (self._playing or self._speaking) and bool(self._open_session())
        if settings.filler and quiet:
            after_ns = int(settings.filler_after_s * 1e9)
            if self._outputs.filler(after_ns, self._clock_ns()):
                self._stage.count("fillers")
                self._send(requests.filler(settings.filler))
        self._look_later()
