"""A person's command from the command line: ``python -m commands.control interrupt|talk|release``.

``talk`` and ``release`` are the button of push to talk, pressed and let go.
"""

from __future__ import annotations

import argparse
import sys
import time

from shared import bus, config, messages, registry
from shared.stage import RUNNING, AlreadyRunning, take_lock

#: The name under which this command is on the bus.
NAME = registry.of(messages.Control).publisher
WAIT_S = 3.0
#: Readers look for us every few ms, and who only looks on is to be told as well.
OTHERS_S = 0.1


def main() -> int:
    """Send one command; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.control", description=__doc__)
    parser.add_argument(
        "command",
        choices=["interrupt", "talk", "release"],
        help="stop the assistant's reply; open the microphone, and close it again",
    )
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments).config
        directory = bus.prepare_directory(config.bus_directory(settings))
        network = config.bus_network(settings)
        take_lock(NAME, directory)
        publisher = bus.Publisher(NAME, directory, network)
    except AlreadyRunning as error:
        print(f"control: {error}", file=sys.stderr)
        return RUNNING
    except (config.ConfigError, bus.BusError) as error:
        print(error, file=sys.stderr)
        return 2
    poller = bus.Poller()
    for socket in publisher.sockets:
        poller.watch(socket)
    end = time.monotonic() + WAIT_S
    found = False
    try:
        while (left := end - time.monotonic()) > 0:
            poller.wait(left)
            if registry.of(messages.Control).consumed_name in publisher.welcome() and not found:
                found, end = True, time.monotonic() + OTHERS_S
        if found:
            publisher.publish(messages.Control(command=arguments.command))
            return 0
        print(f"control: no downlink listens on {directory}: is it running?", file=sys.stderr)
        return 1
    finally:
        publisher.close(linger_ms=500)


if __name__ == "__main__":
    sys.exit(main())
