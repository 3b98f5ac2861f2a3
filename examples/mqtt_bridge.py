"""The conversation over MQTT: states and captions out, commands in, also for Home Assistant.

Run it beside a conversation, with your broker's address::

    MQTT_URL=mqtt://user:password@broker.local python examples/mqtt_bridge.py

``mqtts://`` encrypts. It needs aiomqtt and websockets. docs/door.md describes what goes through the
door. Every client that may publish on the broker can send the commands below, and every client that
may read there can read the captions.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

runtime = os.environ.get("XDG_RUNTIME_DIR")
usual = f"{runtime}/bargein" if runtime else f"{tempfile.gettempdir()}/bargein-{os.getuid()}"
directory = os.environ.get("BARGEIN_BUS__DIRECTORY") or usual
broker_url = urlsplit(os.environ.get("MQTT_URL") or "mqtt://localhost")

#: The commands that the bridge accepts: none approves a function call or ends the conversation.
COMMANDS = {"interrupt", "talk", "release", "mute", "unmute", "volume", "say", "type"}
COMMANDS |= {"sleep", "wake"}
AVAILABLE, COMMAND = "bargein/available", "bargein/command"
CONFIG = "homeassistant/device/bargein/config"
STATE, PANEL, SAID = "bargein/state", "bargein/panel", "bargein/said"


def entity(platform: str, name: str, **own: Any) -> dict[str, Any]:
    """Return one thing that Home Assistant shows."""
    command = {} if platform == "sensor" else {"command_topic": COMMAND}
    entry = {"platform": platform, "name": name, "unique_id": f"bargein_{name}".replace(" ", "_")}
    return {**entry, **command, **own}


def text(command: str) -> str:
    """Return the template of a command with a text."""
    return f'{{"command": "{command}", "text": {{{{ value | to_json }}}}}}'


# Home Assistant shows at most 255 characters of a state.
ENTITIES = [
    entity("sensor", "state", state_topic=STATE),
    *(
        entity(
            "sensor",
            f"said by {role}",
            state_topic=f"{SAID}/{role}",
            value_template="{{ value_json.heard[:255] }}",
            json_attributes_topic=f"{SAID}/{role}",
        )
        for role in ("user", "assistant")
    ),
    *(
        entity("button", name, payload_press=json.dumps({"command": name}))
        for name in ("interrupt", "sleep", "wake")
    ),
    entity(
        "switch",
        "mute",
        payload_on='{"command": "mute"}',
        payload_off='{"command": "unmute"}',
        state_topic=PANEL,
        value_template="{{ value_json.muted }}",
        state_on="True",
        state_off="False",
    ),
    entity(
        "number",
        "volume",
        command_template='{"command": "volume", "value": {{ value | int }}}',
        min=0,
        max=100,
        unit_of_measurement="%",
        state_topic=PANEL,
        value_template="{{ value_json.volume }}",
    ),
    entity("text", "say", command_template=text("say")),
    entity("text", "type", command_template=text("type")),
]
DISCOVERY = {
    "device": {"identifiers": ["bargein"], "name": "Bargein"},
    "origin": {"name": "Bargein's MQTT bridge"},
    "availability_topic": AVAILABLE,
    "components": {each["unique_id"]: each for each in ENTITIES},
}


async def publish(door: ClientConnection, broker: aiomqtt.Client) -> None:
    """Publish states, switches and what was said, until monitor ends."""
    async for line in door:
        told = json.loads(line)
        if told["type"] in ("snapshot", "state"):
            await broker.publish(STATE, told["state"], retain=True)
        panel = told.get("panel") if told["type"] == "snapshot" else told
        if panel and "muted" in panel:
            await broker.publish(PANEL, json.dumps(panel), retain=True)
        if told["type"] == "caption" and told["final"] and told["heard"].strip():
            complete = told["cut"] or not told["unheard"].strip()
            if complete:  # not retained: nobody needs old words later
                await broker.publish(f"{SAID}/{told['role']}", line)
        if told["type"] == "outcome" and not told["done"]:
            print(told["outcome"], flush=True)
    raise ConnectionError("monitor has ended")


async def follow(broker: aiomqtt.Client, door: ClientConnection) -> None:
    """Send the commands of the broker through the door."""
    async for message in broker.messages:
        try:
            told = json.loads(str(message.payload, "utf-8"))
            wanted = told["command"] in COMMANDS and not message.retain  # a retained command is old
        except (ValueError, TypeError, KeyError, RecursionError):
            wanted = False
        if wanted:
            await door.send(json.dumps(told))
        else:
            print("ignored, no accepted command:", message.payload[:100], flush=True)


async def bridge() -> None:
    """Bridge until the broker or monitor ends."""
    async with (
        unix_connect(f"{directory}/monitor.sock", "ws://door/events") as door,
        aiomqtt.Client(
            broker_url.hostname or "localhost",
            broker_url.port or (8883 if broker_url.scheme == "mqtts" else 1883),
            username=unquote(broker_url.username) if broker_url.username else None,
            password=unquote(broker_url.password) if broker_url.password else None,
            tls_params=aiomqtt.TLSParameters() if broker_url.scheme == "mqtts" else None,
            will=aiomqtt.Will(AVAILABLE, "offline", retain=True),
        ) as broker,
    ):
        await broker.subscribe(COMMAND)
        await broker.publish(
            "homeassistant/device/bargein/config", json.dumps(DISCOVERY), retain=True
        )
        await broker.publish(AVAILABLE, "online", retain=True)
        print("connected to the broker and the door", flush=True)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(publish(door, broker))
                both.create_task(follow(broker, door))
        finally:
            await broker.publish(AVAILABLE, "offline", retain=True)


async def main() -> None:
    """Bridge one conversation after the other, for ever."""
    while True:
        try:
            await bridge()
        except* (OSError, ConnectionClosed, InvalidHandshake) as gone:
            del gone  # no conversation runs, or it has ended
        except* aiomqtt.MqttError as error:
            print("the broker:", *error.exceptions, flush=True)
        await asyncio.sleep(1)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
