"""The poller, with sockets and descriptors."""

from __future__ import annotations

import socket

import pytest

from shared import messages
from shared.poller import Poller
from tests.support.wires import Wires

pytestmark = pytest.mark.contract


def test_waiting_for_descriptors() -> None:
    poller = Poller()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller.watch(ours.fileno())
        assert poller.wait(0) == []
        theirs.send(b"a")
        assert poller.wait(20) == [ours.fileno()]
        assert poller.wait(-1) == [ours.fileno()]
        ours.recv(1)
        assert poller.wait(0.001) == []
        poller.watch(ours.fileno(), write=True)
        assert poller.wait(20) == [ours.fileno()]
        poller.watch(ours.fileno())
        assert poller.wait(0) == []
        theirs.send(b"a")
        poller.unwatch(ours.fileno())
        assert poller.wait(0) == []


def test_waiting_for_messages(wires: Wires) -> None:
    publisher, reader = wires.publisher("monitor"), wires.subscriber(messages.Control)
    wires.join(publisher, "control")
    poller = Poller()
    for each in reader.sockets:
        poller.watch(each)
    assert poller.wait(0) == []
    publisher.publish(messages.Control(command="interrupt"))
    assert poller.wait(20) == reader.sockets
    assert wires.next(reader).message == messages.Control(command="interrupt")
    assert poller.wait(0) == []
