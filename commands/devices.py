"""``bargein devices``: list the microphones and speakers that PortAudio finds.

capture.device and playback.device of config.toml take an index or a part of a name from this list.
"""

from __future__ import annotations

import sys

from commands import description
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.command_line import Parser


def main() -> int:
    """List the input devices, then the output devices; return the exit code."""
    Parser(prog="bargein devices", description=description(__doc__)).parse_args()
    try:
        inputs, outputs = devices.list_devices("input"), devices.list_devices("output")
    except DeviceError as error:
        print(f"devices: {error}", file=sys.stderr)
        return 1
    print(f"microphones (capture.device)\n{inputs}\n\nspeakers (playback.device)\n{outputs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
