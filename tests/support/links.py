"""Code that the tests of link share: starting link, its states, a publisher in place of uplink."""

from __future__ import annotations

from collections.abc import Callable

from shared import bus, messages, registry
from shared.poller import Poller
from tests.support.pipeline import PATIENCE_S, Child, Pipeline
from tests.support.servers import Connection

KEY = "sk-test-SECRET-of-the-link-tests"
#: How a warning or an error begins in a stage's log.
COMPLAINT = r"^\d\d:\d\d:\d\d\.\d{3} [WE] "


def link(pipeline: Pipeline, url: str, **env: str) -> Child:
    """Start link with a server's URL."""
    pipeline.settings["link.url"] = url
    return pipeline.stage("link", env=env)


def states(pipeline: Pipeline, state: str) -> list[messages.LinkState]:
    """Return the messages of link.state with one state, without repetitions."""
    found = [each for each in pipeline.bus.all(messages.LinkState) if each.state == state]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def wait_state(
    pipeline: Pipeline,
    state: str,
    holds: Callable[[messages.LinkState], object] = lambda _: True,
    since: int = 0,
) -> messages.LinkState:
    """Wait for a message of link.state; return it."""
    return pipeline.bus.wait_for(
        messages.LinkState, lambda s: s.state == state and holds(s), since=since
    ).message


def publisher(pipeline: Pipeline, stage: str, topic: str) -> bus.Publisher:
    """Publish in a stage's place, after link and the listener have subscribed to the topic."""
    made = bus.Publisher(stage, pipeline.bus_directory)
    poller = Poller()
    for each in made.sockets:
        poller.watch(each)
    # link consumes the topic, and the test's own listener observes what a running stage consumes.
    row = registry.BY_NAME[topic]
    wanted = [row.consumed_name, row.name]
    while wanted:
        if not poller.wait(PATIENCE_S):
            made.close()
            raise AssertionError(f"no subscription to {' and '.join(wanted)}")
        for name in made.welcome():
            if name in wanted:
                wanted.remove(name)
    return made


class Uplink:
    """A publisher in place of uplink, to which link has subscribed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._publisher = publisher(pipeline, "uplink", "client.event")

    def __enter__(self) -> Uplink:
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close()

    def say(self, text: object, session: int, expires_ns: int = 0, size: int = 0) -> None:
        """Publish a client event, at least ``size`` bytes long."""
        payload = b'{"type":"test","text":"%b","pad":"%b"}' % (str(text).encode(), b"x" * size)
        self._publisher.publish(
            messages.ClientEvent(session=session, expires_ns=expires_ns, payload=payload)
        )


def texts(connection: Connection) -> list[str]:
    """Return the texts of the test's events that a server has read."""
    return [arrival.event["text"] for arrival in connection.of("test")]
