"""``bargein control interrupt|talk|release``: send one command to the conversation.

``interrupt`` ends the assistant's reply. ``talk`` presses the button of push to talk and
``release`` releases it; see interruption.decide in config.toml.
"""

from __future__ import annotations

import argparse
import sys
import time

from commands import description
from shared import bus, config, messages, registry
from shared.directory import BusError, prepare_directory
from shared.exit_codes import RUNNING
from shared.lock import AlreadyRunning, take_lock
from shared.poller import Poller

#: The name under which this command is on the bus.
NAME = registry.of(messages.Control).publisher
#: How long to wait for downlink to subscribe, s. It looks for this publisher every few ms.
WAIT_S = 3.0
#: How long to wait after that for observers such as the tap to subscribe as well, s.
OBSERVERS_S = 0.1
#: How long to wait at the end until the message has left this process, s.
LINGER_S = 0.5


def main() -> int:
    """Send one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="bargein control", description=description(__doc__))
    parser.add_argument(
        "command",
        choices=["interrupt", "talk", "release"],
        help="end the assistant's reply; press the talk button; release it",
    )
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments).config
        directory = prepare_directory(config.bus_directory(settings))
        network = config.bus_network(settings)
        take_lock(NAME, directory)
        publisher = bus.Publisher(NAME, directory, network)
    except AlreadyRunning as error:
        print(f"control: {error}", file=sys.stderr)
        return RUNNING
    except (config.ConfigError, BusError) as error:
        print(error, file=sys.stderr)
        return 2
    poller = Poller()
    for socket in publisher.sockets:
        poller.watch(socket)
    end = time.monotonic() + WAIT_S
    found = False
    try:
        while (left := end - time.monotonic()) > 0:
            poller.wait(left)
            if registry.of(messages.Control).consumed_name in publisher.welcome() and not found:
                found, end = True, time.monotonic() + OBSERVERS_S
        if found:
            publisher.publish(messages.Control(command=arguments.command))
            return 0
        print(f"control: no downlink reads from {directory}: is it running?", file=sys.stderr)
        return 1
    finally:
        publisher.close()
        bus.wait_until_sent(LINGER_S)


if __name__ == "__main__":
    sys.exit(main())
