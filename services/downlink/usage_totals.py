"""The topic ``usage``: what the conversation has used, kept across restarts and days.

The sums of the conversation are in the bus directory, for a downlink that is restarted while link
goes on. The sums of the day are in the user's state directory; see day_file.py. Both files hold
numbers only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import msgspec

from services.downlink.day_file import DayFile
from services.downlink.usage_counter import BadUsage, UsageCounter, plus
from shared import messages, private
from shared.config import Config
from shared.directory import state_directory
from shared.owner import Owner
from shared.realtime import endpoint

NAME = "usage.json"
#: A larger file is not one of ours, bytes.
LONGEST = 64 * 1024


class Saved(msgspec.Struct, frozen=True):
    """The content of the file in the bus directory."""

    session: int
    conversation: messages.Spent
    awake_ms: messages.Count


class UsageTotals:
    """Adds up what the server reports, and publishes it.

    ``awake_ns`` returns how long this downlink's conversation has had a session. ``today`` returns
    the date, YYYY-MM-DD.
    """

    def __init__(
        self,
        stage: Owner,
        config: Config,
        awake_ns: Callable[[], int],
        today: Callable[[], str],
    ) -> None:
        self._stage = stage
        self._path = stage.directory / NAME
        self._prices = config.prices
        self._counter = UsageCounter(
            config.prices, config.link.model, config.session.transcription_model
        )
        self._day = DayFile(state_directory(os.environ), endpoint.where(config.link.url))
        self._awake_ns = awake_ns
        self._today = today
        self._session = 0
        self._earlier_awake_ms = 0  # how long there was a session under an earlier downlink
        self._saved = self._read()

    @property
    def cost_micros(self) -> int:
        """The cost of the conversation so far, in millionths of the currency."""
        return self._counter.conversation.cost_micros

    def go_on(self, link_epoch: int, *, slept: bool) -> None:
        """Go on with an earlier downlink's sums, if link still holds that conversation.

        See ``HistoryKeeper.go_on``. Does nothing after the first call.
        """
        saved, self._saved = self._saved, None
        if saved is not None and (slept or saved.session >= link_epoch):
            counter = self._counter
            counter.conversation = plus(counter.conversation, saved.conversation)
            self._earlier_awake_ms = saved.awake_ms

    def begin_session(self, session: int) -> None:
        """Note the session that the next reports are about."""
        self._session = session

    def model(self, name: Any) -> None:
        """Note the model that the server says it runs."""
        if isinstance(name, str) and name:
            self._counter.model = name

    def response(self, response_id: str, usage: Any) -> None:
        """Count a response."""
        self._enter(lambda: self._counter.response(response_id, usage))

    def transcript(self, usage: Any) -> None:
        """Count the transcript of a turn."""
        self._enter(lambda: self._counter.transcript(usage))

    def tidy(self) -> None:
        """Write sums that could not be written before, and begin another day."""
        try:
            self._day.write()
            changed = self._day.look(self._today())
        except OSError as error:
            self._unsaved(error)
            return
        if changed:
            self._publish()

    def _enter(self, count: Callable[[], messages.Spent | None]) -> None:
        try:
            spent = count()
        except BadUsage as error:
            self._stage.count("bad_usages", warning=f"the server sent {error}; not counted")
            return
        if spent is None:
            return
        try:
            self._day.look(self._today())
            self._day.add(spent)
            self._day.write()
        except OSError as error:
            self._unsaved(error)
        self._publish()

    def _publish(self) -> None:
        awake_ms = self._earlier_awake_ms + self._awake_ns() // 1_000_000
        counter = self._counter
        self._stage.publish(
            messages.Usage(
                session=self._session,
                response_id=counter.last_id,
                last=counter.last,
                conversation=counter.conversation,
                day=self._day.day,
                date=self._today(),
                awake_ms=awake_ms,
                currency=self._prices.currency,
                priced_on=self._prices.date,
                unpriced=counter.unpriced,
            )
        )
        saved = Saved(self._session, counter.conversation, awake_ms)
        # history.json is in the same directory: if that cannot be written, the log says so.
        with contextlib.suppress(OSError):
            private.replace_own(self._path, msgspec.json.encode(saved))

    def _unsaved(self, error: OSError) -> None:
        why = f"{error.strerror}: the sum of the day begins anew with the next conversation"
        self._stage.count("usage_unsaved", warning=f"{error.filename}: {why}")

    def _read(self) -> Saved | None:
        try:
            return msgspec.json.decode(private.read_file(self._path, LONGEST), type=Saved)
        except (OSError, msgspec.MsgspecError, RecursionError):
            return None
