"""The examples that use the door: a button on mock pins, and MQTT through a real mosquitto.

Monitor is real. The test plays the stages that monitor hears of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator

import aiomqtt
import msgspec
import pytest

from shared import messages, registry
from shared.bus import Delivery, Subscriber
from tests.support.asynchronous import running
from tests.support.forger import Forger
from tests.support.gpio import LET_GO, PRESS
from tests.support.pipeline import PATIENCE_S, Child, Keeper, Pipeline
from tests.support.readers import wait_for_readers

pytestmark = pytest.mark.process

#: Debian has it where only root's PATH leads.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
BY_BUTTON = {"monitor.port": 0, "interruption.decide": "push_to_talk"}
#: The stages that the test plays, and the topics that it publishes for them.
PLAYED = {
    "downlink": ("downlink.health", "transcript", "turn.decision"),
    "uplink": ("uplink.health",),
    "echo": ("echo.health",),
    "playback": ("playback.health", "heard"),
    "link": ("link.health", "link.state"),
}
#: The time between two reports of the played stages, s. Monitor believes a report for longer.
REPEAT_S = 0.5
DISCOVERY = "homeassistant/device/bargein/config"


class Played:
    """The stages that the test plays, and the real monitor."""

    def __init__(self, pipeline: Pipeline, stages: contextlib.ExitStack) -> None:
        self.pipeline = pipeline
        self.stages = {
            name: stages.enter_context(contextlib.closing(Forger(name, pipeline)))
            for name in PLAYED
        }
        self._followers = stages.enter_context(contextlib.ExitStack())
        self.follow()
        self.monitor = pipeline.up("monitor", BY_BUTTON)
        self.meet(2)

    def follow(self) -> None:
        """Read commands, as the stages that follow them do: monitor waits for that.

        Each monitor needs new sockets: one that is not polled does not subscribe again.
        """
        self._followers.close()
        control = registry.of(messages.Control)
        for name in PLAYED:
            if control.name in registry.stage(name).reads:
                reader = Subscriber([control], self.pipeline.bus_directory)
                self._followers.callback(reader.close)

    def meet(self, readers: int) -> None:
        """Wait until monitor, and the test's listener, read what the stages say."""
        for name, topics in PLAYED.items():
            wait_for_readers(self.stages[name].publisher, *topics, readers=readers)

    def live(self) -> None:
        """Let monitor know that the stages run."""
        for name in PLAYED:
            health = messages.Health(pid=1, ok=True, state="played", counters={})
            self.stages[name].publish(health, f"{name}.health")
        self.stages["link"].publish(messages.LinkState(state="open", session=1))

    def told(self, command: str, since: int) -> Delivery[messages.Control]:
        """Wait until monitor publishes a command. The stages report meanwhile that they run."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.live()
            try:
                return self.pipeline.bus.wait_for(
                    messages.Control, lambda c: c.command == command, since=since, patience=REPEAT_S
                )
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    async def stay_alive(self) -> None:
        """Report again and again that the stages run."""
        while True:
            self.live()
            await asyncio.sleep(REPEAT_S)

    def start_again(self, settings: dict[str, object]) -> None:
        """Start another monitor."""
        self.monitor = self.pipeline.up("monitor", settings)
        self.follow()
        self.meet(1)
        self.live()


@pytest.fixture(scope="module")
def played(kept: Keeper) -> Iterator[Played]:
    with contextlib.ExitStack() as stages, Pipeline(kept) as pipeline:
        yield Played(pipeline, stages)


def start(played: Played, module: str, **env: str) -> Child:
    """Start an example beside the conversation."""
    env["BARGEIN_BUS__DIRECTORY"] = str(played.pipeline.bus_directory)
    child = played.pipeline.python(module, env=env)
    child.codes = {-signal.SIGTERM}
    return child


def test_a_button_talks_or_interrupts(played: Played) -> None:
    pipeline = played.pipeline

    def decide(command: str, since: int) -> None:
        at_ns = played.told(command, since).stamp.t
        talk = command == "talk"
        decision = messages.TurnDecision(session=1, talk=talk, talk_ns=at_ns)
        played.stages["downlink"].publish(decision)

    button = start(played, "tests.support.gpio")
    button.wait_line("imported")
    played.live()
    button.send(PRESS)
    button.wait_line("ready: the button talks")
    decide("release", 0)
    button.wait_line("^released")
    for count in (1, 2):
        played.live()
        since = pipeline.bus.now
        button.send(PRESS)
        decide("talk", since)
        button.wait_line("speak now", count)
        if count == 1:
            button.send(LET_GO)
            decide("release", since)
            button.wait_line("^released", 2)
    # the button is let go while there is no monitor
    since = pipeline.bus.now
    assert played.monitor.end() == 0
    button.send(LET_GO)
    played.start_again(BY_BUTTON)
    played.told("release", since)
    assert played.monitor.end() == 0
    played.start_again({"monitor.port": 0})
    button.wait_line("ready: the button interrupts")
    since = pipeline.bus.now
    played.live()
    button.send(PRESS)
    played.told("interrupt", since)
    assert button.running


class Client:
    """A client of the broker, which keeps what it was sent."""

    def __init__(self, broker: aiomqtt.Client) -> None:
        self.broker = broker
        self.told: list[tuple[str, str]] = []

    async def wait(self, topic: str, holds: Callable[[str], object]) -> str:
        """Wait for a message on a topic that comes from now on, or is retained."""
        async with asyncio.timeout(PATIENCE_S):
            async for message in self.broker.messages:
                payload = bytes(message.payload).decode("utf-8", "replace")
                self.told.append((str(message.topic), payload))
                if str(message.topic) == topic and holds(payload):
                    return payload
        raise AssertionError(self.told)


@pytest.fixture
def broker(played: Played) -> int:
    """Run a broker on a free port of loopback, and return the port."""
    if MOSQUITTO is None:
        pytest.skip("there is no mosquitto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # without a file of settings it listens on loopback alone, and asks for no password
    played.pipeline.run(MOSQUITTO, "-p", str(port)).wait_line("mosquitto version .* running")
    return port


def test_home_assistant_finds_the_conversation_and_controls_it(played: Played, broker: int) -> None:
    bridge = start(played, "examples.mqtt_bridge", MQTT_URL=f"mqtt://127.0.0.1:{broker}")
    bridge.wait_line("connected to the broker and the door")
    asyncio.run(bridged(played, broker, bridge))


async def bridged(played: Played, port: int, bridge: Child) -> None:
    bus = played.pipeline.bus
    async with aiomqtt.Client("127.0.0.1", port) as broker, running(played.stay_alive()):
        client = Client(broker)
        await broker.subscribe("#")
        found = json.loads(await client.wait(DISCOVERY, bool))
        await client.wait(found["availability_topic"], lambda p: p == "online")
        by_name = {each["name"]: each for each in found["components"].values()}
        assert all(key == each["unique_id"] for key, each in found["components"].items())
        assert found["device"]["identifiers"]
        assert found["origin"]["name"]

        async def press(name: str, key: str, **values: str) -> int:
            """Do what Home Assistant does, with what the bridge has told it."""
            since = bus.now
            payload = by_name[name][key]
            for template, value in values.items():
                payload = payload.replace(f"{{{{ value | {template} }}}}", value)
            await broker.publish(by_name[name]["command_topic"], payload)
            return since

        await client.wait(by_name["state"]["state_topic"], lambda p: p == "listening")
        played.told("interrupt", await press("interrupt", "payload_press"))
        panel = by_name["mute"]["state_topic"]
        await press("mute", "payload_on")
        await client.wait(panel, lambda p: json.loads(p)["muted"] is True)
        await press("mute", "payload_off")
        await client.wait(panel, lambda p: json.loads(p)["muted"] is False)
        await press("volume", "command_template", int="30")
        await client.wait(panel, lambda p: json.loads(p)["volume"] == 30)
        since = await press("type", "command_template", to_json=json.dumps('a "word"\n'))
        typed = played.told("type", since)
        assert typed.message.text == 'a "word"\n'

        # words: the person's, and those of a reply that was cut off
        downlink = played.stages["downlink"]
        answer = messages.Transcript(
            session=1, item_id="a", role="assistant", text="Because it is.", final=True
        )
        downlink.publish(answer)
        # monitor has the answer when it has what downlink said after it
        asked = messages.Transcript(session=1, item_id="q", role="user", text="Why?", final=True)
        downlink.publish(asked)
        said = by_name["said by user"]["state_topic"]
        assert json.loads(await client.wait(said, bool))["heard"] == "Why?"
        item = messages.HeardItem(
            item_id="a", content_index=0, heard=900, received=9000, done=True, cut=True
        )
        heard = messages.Heard(generation=1, session=1, playing=False, items=[item])
        played.stages["playback"].publish(heard)
        downlink.publish(msgspec.structs.replace(answer, heard="Because", unheard=" it is."))
        said = by_name["said by assistant"]["state_topic"]
        cut = json.loads(await client.wait(said, lambda p: json.loads(p)["heard"] == "Because"))
        assert cut["unheard"] == " it is."

        # what is no command for others does nothing, and neither does an old one
        command = by_name["interrupt"]["command_topic"]
        interrupt = by_name["interrupt"]["payload_press"]
        since = bus.now
        foreign = (b'{"command": "stop"}', b"{", b"[]", b"\xff", b'{"command": []}', b"[" * 99_999)
        for payload in foreign:
            await broker.publish(command, payload)
        await broker.publish(command, interrupt, retain=True)
        bridge.wait_line("ignored, no accepted command", len(foreign))
        # taken once, as it comes, but not again by the next bridge
        played.told("interrupt", since)
        assert played.monitor.end() == 0
        await client.wait(found["availability_topic"], lambda p: p == "offline")
        since = bus.now
        played.monitor = played.pipeline.up("monitor", {"monitor.port": 0})
        await client.wait(found["availability_topic"], lambda p: p == "online")
        bridge.wait_line("ignored, no accepted command", len(foreign) + 1)
        assert not bus.all(messages.Control, since=since)
        bridge.codes = {-signal.SIGKILL}
        bridge.end(signal.SIGKILL)
        await client.wait(found["availability_topic"], lambda p: p == "offline")
