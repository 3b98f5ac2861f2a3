"""The rules of link. The kit is its uplink, its downlink and its server."""

from __future__ import annotations

import time
from collections.abc import Iterable

from commands.check.bench import PATIENCE_S, Bench
from commands.check.common import EXACT, Check
from commands.check.rules import Broken, Rule
from commands.check.server import Server
from shared import messages

#: Text that only arrives as it is when nobody reads or writes it anew: spaces, order and escapes.
UP = '{ "b":1 , "a": "\\u00e9 é 🙂", "n":1.0, "e":1e3 }'.encode()
DOWN = '{"type" : "test", "text":"\\u2713 ✓ \\/",\t"z":[ ],  "a":0.10}'.encode()
#: Our own pings are due each second here (BARGEIN_LINK__PING_INTERVAL_S).
PING_S = 3.0


class Link(Check):
    """The check of a link."""

    stage = "link"
    neighbours = ("uplink", "downlink")
    reads = ("client.event", "session.renew")

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._server = Server()
        bench.env["BARGEIN_LINK__URL"] = self._server.url
        self._sent = 0

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of link."""
        return [
            Rule("opens", "connects, and publishes the session that is open", self._opens),
            Rule("up", "sends a client event's text untouched", self._up),
            Rule("down", "publishes the server's text untouched", self._down),
            Rule("session", "sends nothing that is meant for another session", self._session),
            Rule("expired", "sends nothing after its time", self._expired),
            Rule("pings", "pings the server", self._pings),
            Rule(
                "reconnects", "opens another session when the connection breaks", self._reconnects
            ),
            Rule("renews", "opens another session when downlink asks for it", self._renews),
        ]

    def probe(self) -> str:
        """Send an event up and one down."""
        session, since = self._open().session, self.bench.now
        text = self._numbered(UP)
        number = text.rpartition(b",")[2]
        self._publish(text, session)
        self._server.send(text)
        up = self.bench.until(lambda: any(number in t for t in self._server.texts))
        down = self.bench.until(
            lambda: any(number in e.payload for e in self.bench.all(messages.ServerEvent, since))
        )
        if not (up and down):
            self.bench.alive()
            raise Broken(f"text goes {'up' if up else 'down' if down else 'nowhere'} only")
        return "text goes both ways"

    def _open(self, after: int = 0) -> messages.LinkState:
        def opened() -> messages.LinkState | None:
            states = self.bench.all(messages.LinkState)
            if states and states[-1].state == "open" and states[-1].session > after:
                return states[-1]
            return None

        found = self.bench.until(opened)
        if found is None:
            self.bench.alive()
            states = [state.state for state in self.bench.all(messages.LinkState)][-5:]
            raise Broken(f"link.state was not open within {PATIENCE_S:g} s: {states}")
        return found

    def _publish(self, text: bytes, session: int, expires_ns: int = 0) -> None:
        self.bench.publish(
            messages.ClientEvent(session=session, expires_ns=expires_ns, payload=text)
        )

    def _opens(self) -> str:
        state = self._open()
        if not 0 < state.session < EXACT:
            raise Broken(f"session {state.session} is not between 1 and 2^53")
        if state.opened_ns == 0:
            raise Broken("opened_ns is 0 though a session is open")
        return f"session {state.session}"

    def _numbered(self, text: bytes) -> bytes:
        self._sent += 1
        return text[:-1] + f', "number": {self._sent}}}'.encode()

    def _up(self) -> str:
        text = self._numbered(UP)
        self._publish(text, self._open().session)
        before = len(self._server.texts)
        self.bench.until(lambda: text in self._server.texts, 3)
        if text not in self._server.texts:
            raise Broken(f"the server got {self._server.texts[before:][:1] or 'nothing'}")
        return f"{len(text)} bytes"

    def _down(self) -> str:
        text, since = self._numbered(DOWN), self.bench.now
        session = self._open().session
        self._server.send(text)

        def came() -> list[messages.ServerEvent]:
            return self.bench.all(messages.ServerEvent, since)

        self.bench.until(came, 3)
        if [event.payload for event in came()] != [text]:
            raise Broken(f"it published {[e.payload for e in came()][:1] or 'nothing'}")
        [event] = came()
        if event.session != session:
            raise Broken(f"it published session {event.session}, and {session} is open")
        if abs(time.monotonic_ns() - event.received_ns) > 5e9:
            raise Broken("received_ns is not when the text came")
        return f"{len(text)} bytes"

    def _session(self) -> str:
        session = self._open().session
        first, second, good = (self._numbered(UP) for _ in range(3))
        self._publish(first, session - 1)
        self._publish(second, session + 1)
        return self._only(good, first, second)

    def _expired(self) -> str:
        late, good = self._numbered(UP), self._numbered(UP)
        self._publish(late, self._open().session, time.monotonic_ns() - 1_000_000_000)
        return self._only(good, late)

    def _only(self, good: bytes, *bad: bytes) -> str:
        """Send an event that has to arrive. Raise Broken if an event of ``bad`` arrived before."""
        self._publish(good, self._open().session)
        self.bench.until(lambda: good in self._server.texts, 3)
        arrived = sum(text in self._server.texts for text in bad)
        if arrived:
            raise Broken(f"{arrived} of {len(bad)} arrived at the server")
        return ""

    def _pings(self) -> str:
        if not self.bench.until(lambda: self._server.pings, PING_S):
            raise Broken(f"no ping came for {PING_S:g} s, with link.ping_interval_s at 1")
        return ""

    def _reconnects(self) -> str:
        before, since = self._open().session, self.bench.now
        self._server.drop()
        after = self._open(before)
        between = [s for s in self.bench.all(messages.LinkState, since) if s.state != "open"]
        if not between:
            raise Broken("it never published that the session had ended")
        if after.cause in ("", "renewed"):
            raise Broken(f"the cause of the end is {after.cause!r}")
        return f"cause {after.cause!r}"

    def _renews(self) -> str:
        before = self._open().session
        self.bench.publish(messages.Renew(session=before, forced=False))
        after = self._open(before)
        if after.cause != "renewed":
            raise Broken(f"the cause of the end is {after.cause!r}, not 'renewed'")
        return ""
