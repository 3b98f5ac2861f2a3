"""The WebSocket to the server: text messages up and down, and nothing else.

link connects, authenticates, pings, connects again and moves text. It never reads the JSON, so that
the stages that people edit can be restarted while the session lasts. To renew the session, link
opens a second connection beside the first one and then changes over. link is the only stage that
holds the API key.
"""

from __future__ import annotations

import time
from typing import Literal

from services.link import endings
from services.link.connection import Connection, Ended, Other
from services.link.dialer import Dialer
from services.link.outbox import Outbox
from services.link.reconnect import Backoff
from services.link.retired import Retired
from shared import messages
from shared.bus import Delivery
from shared.exit_codes import FAILED
from shared.realtime import endpoint
from shared.run import run
from shared.stage import HEARTBEAT_S, Failure, Stage

#: If the socket takes none of the bytes that wait for this long, s, the connection is dead.
STALLED_S = 5.0
#: The most messages that are read in one turn of the loop, so that a burst from the server does not
#: delay what goes to the server.
AT_ONCE = 64
#: How often link looks whether a ping is due and whether the connection is alive, s.
TICK_S = 0.25

State = Literal["connecting", "open", "waiting", "refused"]


class Link:
    """The stage: at most one connection in use, and at most one more that was just replaced."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = stage.config.link
        try:
            self._dialer = Dialer(self._settings, stage.wake)
        except endpoint.KeyProblem as error:
            raise Failure(str(error)) from None
        self._where = self._dialer.where
        self._backoff = Backoff(self._settings.retry_first_ms, self._settings.retry_max_ms)
        self._outbox = Outbox()
        self._connection: Connection | None = None
        self._retired: Retired | None = None
        self._watches_room = False  # whether the loop waits for the socket to take more
        self._renew_after_s = 0.0  # after a failed renewal, the next one is not tried before
        # what link.state says of the last session, also after its end
        self._session = self._sent = 0
        self._opened_s = 0.0
        self._cause: messages.Cause = ""
        stage.subscribe(messages.ClientEvent, self._on_client_event)
        stage.subscribe(messages.Renew, self._on_renew)
        stage.on_wake(self._on_wake)
        stage.on_close(self._hang_up)
        stage.every(TICK_S, self._tick)
        stage.every(HEARTBEAT_S, self._beat)
        if exposed := endpoint.exposed(self._settings):
            stage.log.warning("%s", exposed)
        key = "set" if self._dialer.has_key else "none"
        stage.log.info("server %s, model %s, key %s", self._where, self._settings.model, key)
        self._connect()

    # connecting

    def _connect(self) -> None:
        self._publish_state("connecting")
        self._stage.log.info("connecting to %s", self._where)
        self._dialer.dial()

    def _on_renew(self, delivery: Delivery[messages.Renew]) -> None:
        due = delivery.message.session == self._session and time.monotonic() > self._renew_after_s
        if self._connection is not None and not self._dialer.busy and due:
            when = "though somebody speaks" if delivery.message.forced else "at a quiet moment"
            self._stage.log.info("renewing session %d %s", self._session, when)
            self._dialer.dial()

    def _on_wake(self) -> None:
        outcome = self._dialer.take()
        if isinstance(outcome, endings.Lost | endings.Refused):
            self._on_ending(outcome)
        elif outcome is not None:
            session = self._stage.number()
            try:
                self._use(Connection(outcome, session))
            except Ended as ended:
                self._on_ending(ended.ending)
        self._read()

    def _use(self, opened: Connection) -> None:
        """Use a connection that was just opened, in place of the one before."""
        if self._connection is not None:
            self._retired = Retired(self._stage, self._connection)
            self._cause = "renewed"
            self._stage.counters["renewals"] += 1
        self._connection = opened
        self._session, self._sent = opened.session, 0
        self._opened_s = opened.opened_s
        self._drop_unsent()
        self._watches_room = False
        self._stage.watch(opened.descriptor, self._on_socket)
        self._stage.log.info("open: session %d", self._session)
        self._publish_state("open")

    def _on_ending(self, ending: endings.Ending) -> None:
        """React to the end of the connection, or to an attempt to connect that failed."""
        why = self._dialer.line(ending.why)
        now = time.monotonic()
        if self._connection is not None:
            # A renewal failed. The connection in use still has some time left.
            self._renew_after_s = now + self._backoff.after(ending, 0) / 1000
            self._stage.count("renewals_failed", warning=f"could not renew the session: {why}")
            return
        self._cause = ending.cause
        if isinstance(ending, endings.Refused):
            self._publish_state("refused", why)
            self._stage.log.error(
                "%s refused the connection: %s: %s", self._where, why, ending.advice
            )
            self._stage.stop(FAILED)
            return
        if self._dialer.busy:
            # The connection ended during its renewal: the new one is already being opened.
            self._publish_state("connecting", why)
            return
        delay_ms = self._backoff.after(ending, now - self._opened_s if self._opened_s else 0)
        self._opened_s = 0.0
        delay_s = delay_ms / 1000
        self._stage.log.warning("%s: %s; trying again in %.1f s", self._where, why, delay_s)
        self._publish_state("waiting", why, delay_ms)
        self._stage.after(delay_s, self._connect)

    def _publish_state(self, state: State, reason: str = "", retry_ms: int = 0) -> None:
        self._stage.ok = state == "open"
        self._stage.state = f"{state} {reason}".strip()
        self._stage.publish(
            messages.LinkState(
                state=state,
                session=self._session,
                opened_ns=int(self._opened_s * 1e9),
                cause=self._cause,
                sent=self._sent,
                expired=self._outbox.expired,
                retry_ms=retry_ms,
                reason=reason[:1024],
            )
        )

    # to the server

    def _on_client_event(self, delivery: Delivery[messages.ClientEvent]) -> None:
        event = delivery.message
        if self._retired is not None:
            if event.session == self._retired.session and self._retired.send(event.payload):
                return
            self._close_retired()  # uplink has changed over to the new session
        if self._connection is None or event.session != self._session:
            self._stage.count("events_unsent")
            return
        self._outbox.put(event)
        self._pump()

    def _pump(self) -> None:
        """Send the events that wait, as long as the socket takes them at once."""
        try:
            while self._connection is not None:
                self._connection.flush()
                event = self._outbox.first(time.monotonic_ns())
                blocked = self._connection.waits or (
                    event is not None and not self._connection.takes_more
                )
                self._watch_room(blocked)
                if event is None or blocked:
                    break
                self._outbox.sent()
                self._connection.send(event.payload)
                self._sent += 1
                if self._sent == 1:
                    # Publish it at once: an uplink that was restarted must not greet again.
                    self._publish_state("open")
        except Ended as ended:
            self._lose(ended.ending)
        new = self._outbox.expired - self._stage.counters["events_expired"]
        if new:
            self._stage.count("events_expired", new, "the network is slow: old speech was dropped")

    def _watch_room(self, blocked: bool) -> None:
        """Have the loop call ``_on_socket`` when the socket takes more, if it is blocked now."""
        if self._connection is not None and blocked != self._watches_room:
            self._watches_room = blocked
            self._stage.watch(self._connection.descriptor, self._on_socket, write=blocked)

    # from the server

    def _on_socket(self) -> None:
        self._read()
        self._pump()

    def _read(self) -> None:
        for count in range(AT_ONCE):
            # Reading in vain costs as much as reading a message.
            if self._connection is None or (count and not self._connection.has_more()):
                return
            try:
                message = self._connection.receive()
            except Ended as ended:
                self._lose(ended.ending)
                return
            if message is None:
                return
            if isinstance(message, Other):
                if message.binary:
                    self._stage.count("binary_frames", warning="a binary frame, skipped")
            else:
                self._publish_event(message.data, message.read_ns)
        # There may be more messages, and TLS may hold some that the poller cannot see.
        self._stage.wake()

    def _publish_event(self, text: bytes, read_ns: int) -> None:
        if len(text) > messages.MAX_TEXT:
            self._stage.count("oversized", warning=f"a frame of {len(text)} bytes, skipped")
            return
        text = self._dialer.without_key(text)
        self._stage.publish(
            messages.ServerEvent(session=self._session, received_ns=read_ns, payload=text)
        )
        self._stage.counters["events_received"] += 1

    # the end of a connection

    def _lose(self, ending: endings.Ending) -> None:
        self._hang_up()
        self._stage.counters["connections_lost"] += 1
        self._on_ending(ending)

    def _close_retired(self) -> None:
        if self._retired is not None:
            self._retired.close()
            self._retired = None

    def _hang_up(self) -> None:
        self._close_retired()
        if self._connection is not None:
            self._stage.unwatch(self._connection.descriptor)
            self._drop_unsent()
            self._connection.close()
            self._connection = None

    def _drop_unsent(self) -> None:
        """Drop the events that the last connection did not take: they would arrive late."""
        unsent = self._outbox.clear()
        if unsent:
            self._stage.count("events_unsent", unsent)

    def _tick(self) -> None:
        if self._connection is None:
            return
        now, settings = time.monotonic(), self._settings
        try:
            if now - self._connection.alive_s > settings.ping_interval_s + settings.pong_timeout_s:
                raise Ended(endings.SILENT)
            if self._connection.stalled_s() > STALLED_S:
                raise Ended(endings.STALLED)
            if now - self._connection.pinged_s > settings.ping_interval_s:
                self._connection.ping()
        except Ended as ended:
            self._lose(ended.ending)
        self._pump()

    def _beat(self) -> None:
        if self._connection is not None:
            self._publish_state("open")


def main() -> int:
    """Run the stage."""
    return run("link", Link, "Holds the WebSocket to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
