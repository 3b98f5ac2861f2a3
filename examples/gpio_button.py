"""A button on a pin of a Raspberry Pi: for push to talk, or to interrupt the assistant.

Connect the button between the pin (here GPIO 17) and ground, then run this beside a conversation::

    python examples/gpio_button.py 17

With ``interruption.decide = "push_to_talk"`` the person speaks while the button is pressed. With
any other decision, a press interrupts. It needs gpiozero with one of its pin libraries (lgpio), and
websockets. docs/door.md describes what goes through the door.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import suppress

from gpiozero import Button
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, unix_connect

runtime = os.environ.get("XDG_RUNTIME_DIR")
usual = f"{runtime}/bargein" if runtime else f"{tempfile.gettempdir()}/bargein-{os.getuid()}"
directory = os.environ.get("BARGEIN_BUS__DIRECTORY") or usual


def serve(button: Button, door: ClientConnection) -> None:
    """Send the button's commands until monitor ends, and print their outcomes."""

    def send(command: str) -> None:
        with suppress(ConnectionClosed):  # the loop below ends too
            door.send(json.dumps({"command": command}))

    for text in door:
        told = json.loads(text)
        if told["type"] == "snapshot":
            talks = told["settings"]["decide"] == "push_to_talk"
            button.when_pressed = lambda talks=talks: send("talk" if talks else "interrupt")
            button.when_released = (lambda: send("release")) if talks else None
            if talks and not button.is_pressed:
                send("release")  # a release without a monitor was lost
            print("ready: the button", "talks" if talks else "interrupts", flush=True)
        elif told["type"] == "outcome":
            print(told["outcome"], flush=True)


def main() -> None:
    """Serve one conversation after the other, for ever."""
    # a contact bounces for some milliseconds
    button = Button(sys.argv[1] if len(sys.argv) > 1 else "17", bounce_time=0.01)
    while True:
        try:
            with unix_connect(f"{directory}/monitor.sock", "ws://door/events") as door:
                serve(button, door)
        except (OSError, ConnectionClosed, InvalidHandshake):
            pass  # no conversation runs, or it has ended
        time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
