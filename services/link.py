"""The WebSocket: text frames up and down, and nothing else.

Kept dumb, so that the stages that people edit can be restarted without losing the session: it
connects, authenticates, pings, backs off and moves text, and never reads the JSON. The only stage
that holds the API key.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Literal, cast

import websocket

from shared import messages as m
from shared import stage as s
from shared import wire
from shared.bus import Delivery
from shared.realtime import endpoint, frames, reconnect
from shared.realtime.outbox import Outbox

#: What the kernel may hold of what we send, about a second of microphone: a network that stalls
#: must not collect speech that then arrives late.
SEND_BUFFER = 64 * 1024
#: Reads in one turn of the loop, so that a burst does not keep the other direction waiting.
AT_ONCE = 16
TICK_S = 0.25

State = Literal["connecting", "open", "waiting", "refused"]
#: A connection that lasted this long was a good one: the next delay starts small again.
GOOD_AFTER_S = 5.0


class Link:
    """One WebSocket, as a stage."""

    def __init__(self, stage: s.Stage) -> None:
        self._stage = stage
        self._settings = stage.config.link
        try:
            self._key = endpoint.read_key(self._settings)
        except endpoint.KeyProblem as error:
            raise s.Failure(str(error)) from None
        self._url, self._headers = endpoint.request(self._settings, self._key)
        self._where = endpoint.where(self._url)
        first_ms, max_ms = self._settings.retry_first_ms, self._settings.retry_max_ms
        self._backoff = reconnect.Backoff(first_ms, max_ms)
        self._wire: wire.Wire | None = None
        self._descriptor = -1
        self._outcome: websocket.WebSocket | Exception | None = None
        self._outbox = Outbox()
        self._blocked = False  # the socket takes no more for now
        self._session = 0
        self._opened = 0.0
        self._sent = 0
        self._pinged = 0.0
        self._alive = 0.0
        stage.subscribe(m.ClientEvent, self._on_client_event)
        stage.on_wake(self._on_wake)
        stage.on_close(self._hang_up)
        stage.every(TICK_S, self._tick)
        stage.every(s.HEARTBEAT_S, self._beat)
        key = "set" if self._key else "none"
        stage.log.info("server %s, model %s, key %s", self._where, self._settings.model, key)
        self._connect()

    # connecting

    def _connect(self) -> None:
        self._say("connecting")
        self._stage.log.info("connecting to %s", self._where)
        # on a thread of its own: looking up a name cannot be interrupted, and the loop must go on
        threading.Thread(target=self._open, name="connect", daemon=True).start()

    def _open(self) -> None:
        try:
            self._outcome = websocket.create_connection(
                self._url,
                timeout=self._settings.connect_timeout_s,
                header=self._headers,
                suppress_origin=True,
                # a redirect would carry the key to wherever it points
                redirect_limit=0,
                sockopt=[
                    (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER),
                    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                ],
            )
        except Exception as error:  # noqa: BLE001 - the loop decides whether to try again
            self._outcome = error
        self._stage.wake()

    def _on_wake(self) -> None:
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, websocket.WebSocket):
            self._opened_with(outcome)
        elif isinstance(outcome, websocket.WebSocketBadStatusException):
            status = outcome.status_code
            text = f"HTTP {status} at the upgrade"
            if reconnect.http_is_final(status):
                self._refused(text, reconnect.advice("", status))
            else:
                self._retry(text)
        elif isinstance(outcome, ssl.SSLCertVerificationError):
            self._refused(
                f"certificate not trusted: {outcome.verify_message}", "check link.url and the clock"
            )
        elif isinstance(outcome, websocket.WebSocketException) and "Redirect" in str(outcome):
            self._refused("a redirect, which the key does not follow", "set link.url to its target")
        elif outcome is not None:
            self._retry(str(outcome) or type(outcome).__name__)
        self._read()

    def _opened_with(self, opened: websocket.WebSocket) -> None:
        connected = cast("socket.socket", opened.sock)
        self._wire = wire.Wire(connected, m.MAX_TEXT)
        self._descriptor = connected.fileno()
        self._session = max(self._session + 1, time.time_ns())
        self._opened = self._pinged = self._alive = time.monotonic()
        self._sent = 0
        self._outbox.clear()
        self._blocked = False
        self._stage.watch(self._descriptor, self._on_socket)
        self._stage.log.info("open: session %d", self._session)
        self._say("open")

    def _retry(self, why: str) -> None:
        why = self._clean(why)
        if self._opened and time.monotonic() - self._opened > GOOD_AFTER_S:
            self._backoff.worked()
        self._opened = 0.0
        delay = self._backoff.next_ms()
        self._stage.log.warning("%s: %s; trying again in %.1f s", self._where, why, delay / 1000)
        self._say("waiting", why, delay)
        self._stage.after(delay / 1000, self._connect)

    def _refused(self, why: str, what_to_do: str) -> None:
        why = self._clean(why)
        self._say("refused", why)
        self._stage.log.error("%s refused the connection: %s: %s", self._where, why, what_to_do)
        self._stage.stop(s.FAILED)

    def _say(self, state: State, reason: str = "", retry_ms: int = 0) -> None:
        self._stage.ok = state == "open"
        self._stage.state = f"{state} {reason}".strip()
        self._stage.publish(
            m.LinkState(
                state=state,
                session=self._session,
                sent=self._sent,
                expired=self._outbox.expired,
                retry_ms=retry_ms,
                reason=reason[:1024],
            )
        )

    def _clean(self, text: str) -> str:
        text = " ".join(text.split())[:400]
        return text.replace(self._key, "****") if self._key else text

    # moving text

    def _on_client_event(self, delivery: Delivery[m.ClientEvent]) -> None:
        event = delivery.message
        if self._wire is None or event.session != self._session:
            self._stage.count("events_unsent")
            return
        self._outbox.put(event)
        self._pump()

    def _pump(self) -> None:
        """Send what waits, as long as the socket takes it without blocking."""
        line = self._wire
        if line is None:
            return
        try:
            line.flush()
            blocked = line.blocked
            # what has not begun to leave may yet become too old
            while (event := self._outbox.first(time.monotonic_ns())) is not None and not blocked:
                if line.send(frames.TEXT, event.payload):
                    self._outbox.sent()
                    self._count_sent()
                    blocked = line.blocked
                else:
                    blocked = True
        except OSError as error:
            self._lost(f"could not send: {error}")
            return
        if blocked != self._blocked:
            self._blocked = blocked
            self._stage.watch(self._descriptor, self._on_socket, write=blocked)
        new = self._outbox.expired - self._stage.counters["events_expired"]
        if new:
            self._stage.count("events_expired", new, "the network is slow: old speech was dropped")

    def _count_sent(self) -> None:
        self._sent += 1
        if self._sent == 1:
            self._say("open")  # at once: an uplink that comes back must not greet again

    def _on_socket(self) -> None:
        self._read()
        self._pump()

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            if self._wire is None:
                return
            try:
                messages, more = self._wire.receive()
                now_ns = time.monotonic_ns()
                if messages:
                    self._alive = now_ns / 1e9
                for opcode, payload in messages:
                    if self._wire is not None:  # nothing counts after a close
                        self._take(self._wire, opcode, payload, now_ns)
            except (OSError, frames.BadFrame) as error:
                self._lost(str(error) or type(error).__name__)
                return
            if not more:
                return
        self._stage.wake()

    def _take(self, line: wire.Wire, opcode: int, payload: bytes, now_ns: int) -> None:
        if opcode == frames.TEXT:
            self._publish(payload, now_ns)
        elif opcode == frames.PING:
            line.insist(frames.PONG, payload)
        elif opcode == frames.CLOSE:
            self._closed(payload)
        elif opcode == frames.BINARY:
            self._stage.count("binary_frames", warning="a binary frame, skipped")

    def _publish(self, text: bytes, now_ns: int) -> None:
        if self._key and self._key.encode() in text:
            text = text.replace(self._key.encode(), b"****")
        self._stage.publish(m.ServerEvent(session=self._session, received_ns=now_ns, payload=text))
        self._stage.counters["events_received"] += 1

    def _closed(self, data: bytes) -> None:
        code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
        reason = data[2:].decode("utf-8", "replace")
        text = f"closed by the server ({code}{' ' if reason else ''}{reason})"
        if reconnect.close_is_final(code):
            self._hang_up()
            self._refused(text, reconnect.advice(reason))
        else:
            self._lost(text)

    def _lost(self, why: str) -> None:
        self._hang_up()
        self._stage.counters["connections_lost"] += 1
        self._retry(why)

    def _hang_up(self) -> None:
        line, self._wire = self._wire, None
        if line is None:
            return
        self._stage.unwatch(self._descriptor)
        line.close()

    def _tick(self) -> None:
        line = self._wire
        if line is None:
            return
        now = time.monotonic()
        if now - self._alive > self._settings.ping_interval_s + self._settings.pong_timeout_s:
            self._lost("no answer to pings")
        elif now - self._pinged > self._settings.ping_interval_s:
            self._pinged = now
            try:
                line.insist(frames.PING)
            except OSError as error:
                self._lost(f"could not send: {error}")
        self._pump()

    def _beat(self) -> None:
        if self._wire is not None:
            self._say("open")


def main() -> int:
    """Run the stage."""
    return s.run("link", Link, "Holds the WebSocket to the server.")


if __name__ == "__main__":
    raise SystemExit(main())
