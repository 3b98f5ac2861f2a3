"""Code that the tests of link share: starting link, its states, a publisher in place of uplink."""

from __future__ import annotations

from collections.abc import Callable

from shared import bus, messages
from tests.support.pipeline import Child, Pipeline
from tests.support.readers import wait_for_readers
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
    try:
        wait_for_readers(made, topic)
    except AssertionError:
        made.close()
        raise
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
