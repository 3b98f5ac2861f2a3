"""The bus over tcp: its addresses, its key, and which peers are refused."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from commands import keys
from shared import bus, config, messages, network, registry
from shared.bus import peers
from shared.directory import BusError
from shared.network import Network
from shared.poller import Poller
from tests.support.wires import Wires

pytestmark = pytest.mark.contract

LINK = messages.LinkState(state="open", session=1)


# addresses


def test_the_endpoints_of_the_stages_take_the_ports_in_turn() -> None:
    assert network.parse(
        ["tcp://10.0.0.2:7300 playback capture", "tcp://[fd00::1]:7300 downlink monitor"]
    ) == {
        "playback": "tcp://10.0.0.2:7300",
        "capture": "tcp://10.0.0.2:7301",
        "downlink": "tcp://[fd00::1]:7300",
        "flush": "tcp://[fd00::1]:7301",
        "monitor": "tcp://[fd00::1]:7302",
    }


def test_every_publisher_of_the_registry_can_be_named() -> None:
    assert {topic.publisher for topic in registry.TOPICS} == set(network.publishers())
    line = " ".join(["tcp://10.0.0.2:1", *network.publishers()])
    assert set(network.parse([line])) == {topic.endpoint for topic in registry.TOPICS}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["tcp://10.0.0.2:7300"], "names no stage"),
        (["capture tcp://10.0.0.2:7300"], "expected tcp://<IP address>:<port>"),
        (["tcp://10.0.0.2 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://10.0.0.2:0 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://10.0.0.2:99999 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://desk:7300 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://*:7300 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://a@10.0.0.2:7300 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://10.0.0.2:7300/x capture"], "expected tcp://<IP address>:<port>"),
        (["http://10.0.0.2:7300 capture"], "expected tcp://<IP address>:<port>"),
        (["tcp://0.0.0.0:7300 capture"], "expected an address of one machine"),
        (["tcp://[::]:7300 capture"], "expected an address of one machine"),
        (["tcp://10.0.0.2:65535 downlink"], "needs ports above 65535"),
        (["tcp://10.0.0.2:7300 captur"], "'captur' is no stage: expected one of capture"),
        (["tcp://10.0.0.2:7300 flush"], "'flush' is no stage"),
        (["tcp://10.0.0.2:1 link", "tcp://10.0.0.3:1 link"], "'link' is named twice"),
        (["tcp://10.0.0.2:1 link uplink", "tcp://10.0.0.2:2 capture"], "have the same port"),
        ([""], "expected"),
    ],
)
def test_a_line_that_is_none(lines: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        network.parse(lines)
    assert why in str(caught.value)
    with pytest.raises(config.ConfigError) as refused:
        config.resolve(Path(os.devnull), {}, [f"bus.machines={lines}", "bus.key_file=x"])
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("host", "leaves"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("[::1]", False), ("10.0.0.2", True)],
)
def test_an_address_off_this_machine_needs_a_key(host: str, leaves: bool) -> None:
    setting = f"bus.machines=['tcp://{host}:7300 capture']"
    config.resolve(Path(os.devnull), {}, [setting, "bus.key_file=x"])
    if leaves:
        with pytest.raises(config.ConfigError, match=r"would let anyone .* 'bargein keys'"):
            config.resolve(Path(os.devnull), {}, [setting])
    else:
        config.resolve(Path(os.devnull), {}, [setting])


# keys


@pytest.fixture(name="made")
def _made(tmp_path: Path) -> Path:
    before = os.umask(0)
    try:
        network.make_key(tmp_path / "new" / "bus.key")
    finally:
        os.umask(before)
    return tmp_path / "new" / "bus.key"


def test_only_the_owner_can_read_a_key(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    key = network.read_key(made)
    assert len(zmq.curve_public(key)) == network.KEY_LENGTH
    assert key.decode() not in repr(Network({}, key))


def test_no_key_is_made_over_another(made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(FileExistsError):
        network.make_key(made)
    assert made.read_bytes() == before


def test_the_command_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.key"
    monkeypatch.setattr(sys, "argv", ["keys", str(path)])
    assert keys.main() == 0
    key = network.read_key(path).decode()
    assert keys.main() == 1
    out, err = capsys.readouterr()
    assert f'key_file = "{path}"' in out
    assert err == f"keys: {path} exists: remove it, or name another file\n"
    assert key not in out + err


def _readable(path: Path) -> None:
    path.chmod(0o604)


def _short(path: Path) -> None:
    path.write_bytes(b"short\n")


def _odd(path: Path) -> None:
    path.write_bytes(b"\xff" * network.KEY_LENGTH)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_readable, "others can read it (mode 0604): run 'chmod 600"),
        (_short, "holds no key: make one with 'bargein keys'"),
        (_odd, "holds no key"),
        (_directory, "Is a directory"),
        (_pipe, "not a regular file"),
    ],
)
def test_a_file_that_is_no_safe_key_is_refused(
    made: Path, change: Callable[[Path], object], why: str
) -> None:
    change(made)
    with pytest.raises(network.NetworkError) as caught:
        network.read_key(made)
    assert str(caught.value).startswith(f"bus.key_file {made}: ")
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_key_that_was_put_where_its_file_belongs_is_not_shown(made: Path) -> None:
    key = made.read_text().strip()
    with pytest.raises(network.NetworkError) as caught:
        network.read_key(Path(key))
    assert str(caught.value).startswith("bus.key_file: there is no such file: make one with")
    assert key not in str(caught.value)


def test_a_key_of_another_user_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(made, 65534, -1) if os.getuid() == 0 else None
    owner = made.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(network.NetworkError, match=f"belongs to user {owner}"):
        network.read_key(made)


# which readers get messages


@pytest.fixture(name="line")
def _line() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]} link"


def new_key() -> bytes:
    _, secret = zmq.curve_keypair()
    return secret


def exchange(
    wires: Wires, publishes: Network, *reads: Network, seconds: float = 20, patient: int = 1
) -> list[int]:
    """Publish as link until the first ``patient`` readers have 20 messages each, or time is over.

    Return the number of messages of each reader.
    """
    publisher = bus.Publisher("link", wires.directory, publishes)
    readers = [
        bus.Subscriber([registry.of(messages.LinkState)], wires.directory, net) for net in reads
    ]
    heard = [0] * len(readers)
    try:
        poller = Poller()
        # The readers are not polled: a round lasts 20 ms even if messages arrive, so that every
        # reader has time to connect.
        for each in publisher.sockets:
            poller.watch(each)
        end = time.monotonic() + seconds
        while min(heard[:patient]) < 20 and time.monotonic() < end:
            publisher.welcome()
            publisher.publish(LINK)
            poller.wait(0.02)
            for number, reader in enumerate(readers):
                heard[number] += reader.receive() is not None
    finally:
        publisher.close()
        for reader in readers:
            reader.close()
    return heard


def test_with_the_key_a_message_arrives_and_without_it_none(wires: Wires, line: str) -> None:
    key, where = new_key(), network.parse([line])
    heard = exchange(
        wires, Network(where, key), Network(where, key), Network(where, new_key()), Network(where)
    )
    assert heard == [20, 0, 0]


def test_without_keys_loopback_is_open(wires: Wires, line: str) -> None:
    where = network.parse([line])
    assert exchange(wires, Network(where), Network(where)) == [20]


@pytest.mark.parametrize("its", [b"", new_key()], ids=["no key", "another key"])
def test_a_publisher_without_the_key_is_heard_by_nobody(
    wires: Wires, line: str, its: bytes
) -> None:
    where = network.parse([line])
    # The last reader has the right key: it shows that the publisher does publish.
    heard = exchange(
        wires, Network(where, its), Network(where, its), Network(where, new_key()), patient=1
    )
    assert heard == [20, 0]


def test_a_peer_with_the_public_key_alone_is_turned_away(wires: Wires, line: str) -> None:
    key, where = new_key(), network.parse([line])
    thief: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    public, secret = zmq.curve_keypair()
    thief.curve_publickey, thief.curve_secretkey = public, secret
    thief.curve_serverkey = zmq.curve_public(key)
    thief.subscribe(b"")
    thief.connect(where["link"])
    before = network.refused()
    try:
        assert exchange(wires, Network(where, key), Network(where, key)) == [20]
        assert thief.poll(0) == 0
    finally:
        thief.close(0)
    assert network.refused() > before


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"1.0"],
        [b"1.0", b"1", b"domain", b"", b"", b"NULL"],
        [b"1.0", b"1", b"domain", b"", b"", b"CURVE", b"short"],
        [b"1.0", b"1", b"", b"", b"", b"CURVE", bytes(32)],
        [b"2.0", b"1", b"0" * 40, b"", b"", b"CURVE", bytes(32)],
        [b"1.0", b"1", b"0" * 40, b"", b"", b"PLAIN", bytes(32)],
        [b"1.0", b"1", b"0" * 40, b"", b"", b"CURVE", bytes(32), b""],
    ],
)
def test_the_guard_admits_nothing_else(frames: list[bytes]) -> None:
    assert not network._admitted(frames)
    # It admits this one: the Z85 text of bytes(32) is forty zeros.
    assert network._admitted([b"1.0", b"1", b"0" * 40, b"", b"", b"CURVE", bytes(32)])


def test_silent_connections_do_not_use_up_the_descriptors(wires: Wires, line: str) -> None:
    key, where = new_key(), network.parse([line])
    host, port = where["link"].removeprefix("tcp://").split(":")
    publisher = bus.Publisher("link", wires.directory, Network(where, key))
    reader = bus.Subscriber([registry.of(messages.LinkState)], wires.directory, Network(where, key))
    strangers: list[socket.socket] = []
    heard, most, lived_s = 0, 0, 0.0
    poller = Poller()
    for each in (*publisher.sockets, *reader.sockets):
        poller.watch(each)
    try:
        end = time.monotonic() + 20
        while (heard < 20 or not lived_s) and time.monotonic() < end:
            for _ in range(min(50, 600 - len(strangers))):
                strangers.append(socket.create_connection((host, int(port))))  # noqa: PERF401
            publisher.welcome(poller.wait(0.02))
            publisher.publish(LINK)
            heard += reader.receive() is not None
            alive = sum(not _is_closed(each) for each in strangers)
            most = max(most, alive)
            if len(strangers) == 600 and not alive:
                lived_s = time.monotonic() - end + 20
        cut = publisher.cut
    finally:
        for stranger in strangers:
            stranger.close()
        publisher.close()
        reader.close()
    assert heard >= 20
    # Fifty come before the publisher looks again, and libzmq closes a connection a little later.
    assert most <= peers.STRANGERS + 100
    assert cut > 0
    # The others are closed because they do not shake hands.
    assert 0 < lived_s < 10


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return b"" in [connection.recv(100) for _ in range(2)]
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_network_that_is_not_there(wires: Wires) -> None:
    # No machine has this address: it is reserved for documentation (RFC 5737).
    where = network.parse(["tcp://192.0.2.1:7300 link"])
    with pytest.raises(BusError, match=r"link: cannot publish on tcp://192\.0\.2\.1:7300: "):
        bus.Publisher("link", wires.directory, Network(where, new_key()))
