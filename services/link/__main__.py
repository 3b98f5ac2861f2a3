"""The WebSocket to the server: text messages up and down, and nothing else.

link connects, authenticates, pings, connects again and moves text. It reads JSON in three cases
only: to see that a session begins, to report why the server refused the connection, and to mask the
key in an event that contains it. Because link does so little it seldom changes, and all other
stages can be restarted while the session lasts. To renew the session, link opens a second
connection beside the first one, and changes over when the server has begun a session there. Only
link has the API key.
"""

from __future__ import annotations

import time

import websocket

from services.link import endings, worked
from services.link.asleep import ANSWER_S, Asleep
from services.link.candidate import Candidate
from services.link.connection import Connection, Ended, Other
from services.link.dialer import Dialer
from services.link.reconnect import GOOD_AFTER_S, Backoff
from services.link.retired import Retired
from services.link.sending import Sending
from services.link.session_report import SessionReport
from shared import messages
from shared.bus import Delivery
from shared.exit_codes import DONE, FAILED
from shared.proxy import ProxyProblem
from shared.realtime import endpoint
from shared.run import run
from shared.stage import HEARTBEAT_S, Failure, Stage

#: The most messages that are read in one round of the loop, so that a burst from the server does
#: not delay what goes to the server.
MAX_MESSAGES = 64
#: How often link checks whether a ping is due and whether the connection is alive, s.
TICK_S = 0.25
#: A session that has lasted this long, s, shows that the server accepts us: a server that refuses
#: us closes the connection sooner.
ACCEPTED_S = 1.0


class Link:
    """The stage: a connection in use, one that is being opened, and one that was just replaced."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = stage.config.link
        try:
            self._dialer = Dialer(self._settings, stage.wake, stage.after)
        except (endpoint.KeyProblem, ProxyProblem) as error:
            raise Failure(str(error)) from None
        self._where = self._dialer.where
        self._worked = worked.find(stage.directory, self._dialer.url, self._dialer.key)
        self._backoff = Backoff(self._settings.retry_first_ms, self._settings.retry_max_ms)
        self._asleep = Asleep(stage.directory, stage.network)
        self._sending = Sending(stage, self._on_socket, self._beat, self._lose)
        self._connection: Connection | None = None
        self._candidate: Candidate | None = None
        self._retired: Retired | None = None
        self._renew_after_s = 0.0  # after a failed renewal, the next one is not tried before
        self._report = SessionReport(stage, self._sending)
        stage.subscribe(messages.ClientEvent, self._on_client_event)
        stage.subscribe(messages.Renew, self._on_renew)
        stage.subscribe(messages.Sleep, self._on_sleep)
        stage.on_wake(self._on_wake)
        stage.on_close(self._close)
        stage.every(TICK_S, self._tick)
        stage.every(HEARTBEAT_S, self._beat)
        if exposed := endpoint.exposed(self._settings):
            stage.log.warning("%s", exposed)
        key = "set" if self._dialer.key else "none"
        stage.log.info("server %s, model %s, key %s", self._where, self._settings.model, key)
        if (proxy := self._dialer.proxy) is not None:
            stage.log.info("goes through the proxy %s (%s)", proxy, proxy.source)
        if self._asleep.cause:
            self._say_asleep()
        elif self._asleep.unknown:
            self._report.publish("connecting")
            stage.after(ANSWER_S, self._connect)
        else:
            self._connect()

    # sleep

    def _on_sleep(self, delivery: Delivery[messages.Sleep]) -> None:
        if not self._asleep.follow(delivery.message):
            return
        if self._asleep.cause:
            self._dialer.give_up()
            self._close_candidate()
            self._hang_up()
            self._say_asleep()
        else:
            self._connect()

    def _say_asleep(self) -> None:
        self._report.fall_asleep(self._asleep.cause, self._asleep.reason, time.monotonic())

    # connecting

    def _connect(self) -> None:
        if self._asleep.cause or self._connection is not None or self._opening:
            return  # An old timer: asleep, or a connection is open or being opened.
        self._report.publish("connecting", self._report.reason)
        self._stage.log.info("connecting to %s", self._where)
        self._dialer.dial()

    def _on_renew(self, delivery: Delivery[messages.Renew]) -> None:
        known = delivery.message.session == self._report.session
        due = known and time.monotonic() > self._renew_after_s
        if self._connection is not None and not self._opening and due:
            when = "though somebody speaks" if delivery.message.forced else "at a quiet moment"
            self._stage.log.info("renewing session %d %s", self._report.session, when)
            self._dialer.dial()

    @property
    def _opening(self) -> bool:
        """Whether a connection is being opened."""
        return self._dialer.busy or self._candidate is not None

    def _on_wake(self) -> None:
        outcome = self._dialer.take()
        if isinstance(outcome, websocket.WebSocket):
            session = self._stage.next_number()
            try:
                self._wait_for_session(Connection(outcome, session))
            except Ended as ended:
                self._on_ending(ended.ending)
        elif outcome is not None:
            self._on_ending(outcome)
        self._read()

    def _wait_for_session(self, opened: Connection) -> None:
        """Wait until the server begins a session on a new connection, then use it.

        The session in use goes on until then. If the session in use began without that event, this
        server never sends it, so do not insist on it.
        """
        renews = self._connection is not None and self._connection.first_messages.session_begun
        limit_s = self._settings.connect_timeout_s if renews else 0.0
        self._candidate = candidate = Candidate(self._stage, opened, limit_s, self._on_decision)
        candidate.read()

    def _on_decision(self, ending: endings.Ending | None) -> None:
        candidate, self._candidate = self._candidate, None
        if ending is not None:
            self._on_ending(ending)
        elif candidate is not None:
            self._use(candidate.connection)
            for text in candidate.texts:
                self._publish_event(text.data, text.read_ns)
            self._stage.wake()  # There may be more; see _read.

    def _use(self, opened: Connection) -> None:
        """Use a connection that was just opened, in place of the one before."""
        if self._connection is not None:
            self._retired = Retired(self._stage, self._connection)
            self._report.cause = "renewed"
            self._stage.counters["renewals"] += 1
        self._connection = opened
        self._report.begin_session(opened.session, opened.opened_s)
        self._sending.use(opened)
        self._stage.log.info("open: session %d", self._report.session)
        self._report.publish("open")

    def _on_ending(self, ending: endings.Ending) -> None:
        """React to the end of the connection, or to an attempt to connect that failed."""
        why = self._dialer.line(endings.reason(ending))
        now = time.monotonic()
        if self._connection is not None:
            # A renewal failed. The connection in use still has some time left.
            self._renew_after_s = now + self._backoff.delay_after(ending, 0) / 1000
            self._stage.count("renewals_failed", warning=f"could not renew the session: {why}")
            return
        self._report.cause, self._report.reason = ending.cause, why
        if endings.is_final(ending, worked=self._worked.accepted_before):
            self._report.publish("refused", why)
            self._stage.log.error("%s refused the connection: %s", self._where, why)
            self._stage.stop(FAILED)
            return
        if self._opening:
            # The connection ended during its renewal: the new one is already being opened.
            self._report.publish("connecting", why)
            return
        delay_ms = self._backoff.delay_after(ending, self._report.end_session(now))
        delay_s = delay_ms / 1000
        self._stage.log.warning("%s: %s; trying again in %.1f s", self._where, why, delay_s)
        self._report.publish("waiting", why, delay_ms)
        self._stage.after(delay_s, self._connect)

    # to the server

    def _on_client_event(self, delivery: Delivery[messages.ClientEvent]) -> None:
        event = delivery.message
        if self._retired is not None:
            if event.session == self._retired.session and self._retired.send(event.payload):
                return
            self._close_retired()  # uplink has changed over to the new session
        if self._connection is None or event.session != self._report.session:
            self._stage.count("events_unsent")
            return
        self._sending.put(event)

    # from the server

    def _on_socket(self) -> None:
        self._read()
        self._sending.pump()

    def _read(self) -> None:
        for count in range(MAX_MESSAGES):
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
        self._stage.wake()  # There may be more, and TLS may hold some that the poller cannot see.

    def _publish_event(self, text: bytes, read_ns: int) -> None:
        if len(text) > messages.MAX_TEXT:
            self._stage.count("oversized", warning=f"a frame of {len(text)} bytes, skipped")
            return
        text = self._dialer.without_key(text)
        self._stage.publish(
            messages.ServerEvent(session=self._report.session, received_ns=read_ns, payload=text)
        )
        self._stage.counters["events_received"] += 1

    # the end of a connection

    def _lose(self, ending: endings.Ending) -> None:
        begun = self._connection is not None and self._connection.first_messages.session_begun
        if begun and isinstance(ending, endings.Lost):
            # The session had begun and was not refused, so the key is good.
            self._worked.remember()
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
            self._sending.stop()
            self._connection.close()
            self._connection = None

    def _close_candidate(self) -> None:
        if self._candidate is not None:
            self._candidate.close()
            self._candidate = None

    def _close(self) -> None:
        self._close_candidate()
        self._hang_up()
        if self._stage.exit_code == DONE:
            self._asleep.end()

    def _tick(self) -> None:
        self._dialer.look_after()
        if self._connection is None:
            return
        now, settings = time.monotonic(), self._settings
        accepted_s = ACCEPTED_S if self._connection.first_messages.session_begun else GOOD_AFTER_S
        if now - self._connection.opened_s > accepted_s:
            self._worked.remember()
        try:
            self._connection.look_after(settings.ping_interval_s, settings.pong_timeout_s)
        except Ended as ended:
            self._lose(ended.ending)
        self._sending.pump()

    def _beat(self) -> None:
        if self._connection is not None:
            self._report.publish("open", round_trip_us=self._connection.round_trip_us)


def main() -> int:
    """Run the stage."""
    return run("link", Link, "Holds the WebSocket to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
