"""The WebSocket: text frames up and down, and nothing else.

Kept dumb, so that the stages that people edit can be restarted without losing the session: it
connects, authenticates, pings, backs off and moves text, and never reads the JSON. Where it is told
to renew the session it opens a second connection beside the first, and moves over. The only stage
that holds the API key.
"""

from __future__ import annotations

import select
import ssl
import time
from typing import Literal

import websocket
from websocket import ABNF

from services.link import inflow, reconnect
from services.link.dialer import Dialer, hang_up, has_more
from services.link.outbox import Outbox
from shared import messages
from shared.bus import Delivery
from shared.realtime import endpoint
from shared.stage import FAILED, HEARTBEAT_S, Failure, Stage, run

#: A frame that does not leave within this long means that the connection is dead.
SEND_TIMEOUT_S = 5.0
#: Frames read in one turn of the loop, so that a burst does not keep the other direction waiting.
AT_ONCE = 64
TICK_S = 0.25
#: A connection that was replaced is kept until uplink speaks to the new one, but no longer.
RETIRE_S, RETIRED_TIMEOUT_S = 1.0, 0.05

State = Literal["connecting", "open", "waiting", "refused"]


class Link:
    """One WebSocket, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._settings = stage.config.link
        try:
            self._dialer = Dialer(self._settings, stage.wake)
        except endpoint.KeyProblem as error:
            raise Failure(str(error)) from None
        self._where = self._dialer.where
        first_ms, max_ms = self._settings.retry_first_ms, self._settings.retry_max_ms
        self._backoff = reconnect.Backoff(first_ms, max_ms)
        self._socket: websocket.WebSocket | None = None
        self._descriptor = -1
        self._room = select.poll()  # whether the socket takes more
        self._renew_after = 0.0  # a renewal that failed is not tried again before
        self._retired: tuple[int, websocket.WebSocket] | None = None  # replaced; with its session
        self._cause: messages.Cause = ""
        self._outbox = Outbox()
        self._blocked = False  # the socket takes no more for now
        self._session = 0
        self._sent = 0
        self._opened = self._pinged = self._alive = 0.0
        stage.subscribe(messages.ClientEvent, self._on_client_event)
        stage.subscribe(messages.Renew, self._on_renew)
        stage.on_wake(self._on_wake)
        stage.on_close(self._hang_up)
        stage.every(TICK_S, self._tick)
        stage.every(HEARTBEAT_S, self._beat)
        key = "set" if self._dialer.has_key else "none"
        stage.log.info("server %s, model %s, key %s", self._where, self._settings.model, key)
        self._connect()

    # connecting

    def _connect(self) -> None:
        self._say("connecting")
        self._stage.log.info("connecting to %s", self._where)
        self._dialer.dial()

    def _on_renew(self, delivery: Delivery[messages.Renew]) -> None:
        due = delivery.message.session == self._session and time.monotonic() > self._renew_after
        if self._socket is not None and not self._dialer.busy and due:
            when = "though somebody speaks" if delivery.message.forced else "at a quiet moment"
            self._stage.log.info("renewing session %d %s", self._session, when)
            self._dialer.dial()

    def _on_wake(self) -> None:
        outcome = self._dialer.take()
        if isinstance(outcome, reconnect.Ending):
            self._ended(outcome)
        elif outcome is not None:
            self._opened_with(outcome)
        self._read()

    def _opened_with(self, opened: websocket.WebSocket) -> None:
        if self._socket is not None:
            self._retire(self._socket)
        self._socket = opened
        self._descriptor = opened.sock.fileno() if opened.sock else -1
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)
        opened.settimeout(0)
        inflow.limit(opened, time.monotonic)
        self._session = max(self._session + 1, time.time_ns() // 1000)
        self._opened = self._pinged = self._alive = time.monotonic()
        self._sent = 0
        self._drop_unsent()
        self._blocked = False
        self._stage.watch(self._descriptor, self._on_socket)
        self._stage.log.info("open: session %d", self._session)
        self._say("open")

    def _retire(self, old: websocket.WebSocket) -> None:
        """Keep a connection that was replaced for what is on its way to it: nothing is lost."""
        self._stage.unwatch(self._descriptor)
        self._cause, self._retired = "renewed", (self._session, old)
        self._stage.after(RETIRE_S, self._part)
        self._stage.counters["renewals"] += 1

    def _part(self) -> None:
        if self._retired is not None:
            hang_up(self._retired[1])
            self._retired = None

    def _ended(self, ending: reconnect.Ending) -> None:
        """Take note of a connection, or a try for one, that came to its end."""
        why = self._dialer.line(ending.why)
        now = time.monotonic()
        if self._socket is not None:
            # what should have replaced it did not come about: it has some time left
            self._renew_after = now + self._backoff.after(ending, 0) / 1000
            self._stage.count("renewals_failed", warning=f"could not renew the session: {why}")
            return
        self._cause = ending.cause
        if ending.final:
            self._say("refused", why)
            self._stage.log.error(
                "%s refused the connection: %s: %s", self._where, why, ending.advice
            )
            self._stage.stop(FAILED)
            return
        if self._dialer.busy:
            # the one that was to replace it is on its way
            self._say("connecting", why)
            return
        delay = self._backoff.after(ending, now - self._opened if self._opened else 0)
        self._opened = 0.0
        self._stage.log.warning("%s: %s; trying again in %.1f s", self._where, why, delay / 1000)
        self._say("waiting", why, delay)
        self._stage.after(delay / 1000, self._connect)

    def _say(self, state: State, reason: str = "", retry_ms: int = 0) -> None:
        self._stage.ok = state == "open"
        self._stage.state = f"{state} {reason}".strip()
        self._stage.publish(
            messages.LinkState(
                state=state,
                session=self._session,
                opened_ns=int(self._opened * 1e9),
                cause=self._cause,
                sent=self._sent,
                expired=self._outbox.expired,
                retry_ms=retry_ms,
                reason=reason[:1024],
            )
        )

    # moving text

    def _on_client_event(self, delivery: Delivery[messages.ClientEvent]) -> None:
        event = delivery.message
        if self._retired is not None:
            if event.session == self._retired[0]:
                self._send(event.payload, ABNF.OPCODE_TEXT, self._retired[1])
                return
            self._part()
        if self._socket is None or event.session != self._session:
            self._stage.count("events_unsent")
            return
        self._outbox.put(event)
        self._pump()

    def _pump(self) -> None:
        """Send what waits, as long as the socket takes it without blocking."""
        while self._socket is not None:
            event = self._outbox.first(time.monotonic_ns())
            blocked = event is not None and not self._room.poll(0)
            if blocked != self._blocked:
                self._blocked = blocked
                self._stage.watch(self._descriptor, self._on_socket, write=blocked)
            if event is None or blocked:
                break
            self._outbox.sent()
            self._send(event.payload, ABNF.OPCODE_TEXT)
            self._sent += 1
            if self._sent == 1:
                self._say("open")  # at once: an uplink that comes back must not greet again
        new = self._outbox.expired - self._stage.counters["events_expired"]
        if new:
            self._stage.count("events_expired", new, "the network is slow: old speech was dropped")

    def _send(self, data: bytes, opcode: int, to: websocket.WebSocket | None = None) -> None:
        ws = to or self._socket
        if ws is None:
            return
        try:
            ws.settimeout(SEND_TIMEOUT_S if to is None else RETIRED_TIMEOUT_S)
            ws.send(data, opcode)
            ws.settimeout(0)
        except (OSError, websocket.WebSocketException) as error:
            if to is None:
                self._lost(reconnect.stalled(error))

    def _on_socket(self) -> None:
        self._read()
        self._pump()

    def _read(self) -> None:
        for count in range(AT_ONCE):
            ws = self._socket
            # to try in vain costs as much as to read
            if ws is None or (count and not has_more(ws)):
                return
            try:
                opcode, frame = ws.recv_data_frame(control_frame=True)
            except (BlockingIOError, ssl.SSLWantReadError, websocket.WebSocketTimeoutException):
                return
            except (OSError, websocket.WebSocketException) as error:
                self._lost(reconnect.failed(error))
                return
            now_ns = time.monotonic_ns()
            self._alive = now_ns / 1e9
            if opcode == ABNF.OPCODE_TEXT:
                self._publish(frame.data, now_ns)
            elif opcode == ABNF.OPCODE_CLOSE:
                self._closed(frame.data)
            elif opcode == ABNF.OPCODE_BINARY:
                self._stage.count("binary_frames", warning="a binary frame, skipped")
        # there may be more, and TLS may hold what the poller cannot see
        self._stage.wake()

    def _publish(self, text: bytes, now_ns: int) -> None:
        if len(text) > messages.MAX_TEXT:
            self._stage.count("oversized", warning=f"a frame of {len(text)} bytes, skipped")
            return
        text = self._dialer.without_key(text)
        self._stage.publish(
            messages.ServerEvent(session=self._session, received_ns=now_ns, payload=text)
        )
        self._stage.counters["events_received"] += 1

    def _closed(self, data: bytes) -> None:
        code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
        reason = data[2:].decode("utf-8", "replace")
        self._lost(reconnect.closed(code, reason))

    def _lost(self, ending: reconnect.Ending) -> None:
        self._hang_up()
        self._stage.counters["connections_lost"] += 1
        self._ended(ending)

    def _hang_up(self) -> None:
        self._part()
        ws, self._socket = self._socket, None
        if ws is None:
            return
        self._stage.unwatch(self._descriptor)
        self._drop_unsent()
        hang_up(ws)

    def _drop_unsent(self) -> None:
        """Let go of what the last connection did not take: it would arrive late."""
        unsent = self._outbox.clear()
        if unsent:
            self._stage.count("events_unsent", unsent)

    def _tick(self) -> None:
        if self._socket is None:
            return
        now = time.monotonic()
        if now - self._alive > self._settings.ping_interval_s + self._settings.pong_timeout_s:
            self._lost(reconnect.SILENT)
        elif now - self._pinged > self._settings.ping_interval_s:
            self._pinged = now
            self._send(b"", ABNF.OPCODE_PING)
        self._pump()

    def _beat(self) -> None:
        if self._socket is not None:
            self._say("open")


def main() -> int:
    """Run the stage."""
    return run("link", Link, "Holds the WebSocket to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
