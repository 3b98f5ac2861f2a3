"""``bargein config``: print every setting in force, and where its value came from.

The output is a config.toml with the same settings.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from commands import description
from shared import private
from shared.command_line import Parser
from shared.config import ConfigError, add_arguments, bus_directory, load, masked
from shared.directory import default

#: The settings that name a file with a key.
KEY_FILES = ("link.key_file", "bus.key_file")


def main() -> int:
    """Print the settings in force; return the exit code."""
    parser = Parser(prog="bargein config", description=description(__doc__))
    add_arguments(parser)
    arguments = parser.parse_args()
    try:
        loaded = load(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    section = ""
    for key in loaded.sources:
        head, _, name = key.rpartition(".")
        if head != section:
            print(f"{'' if not section else chr(10)}[{head}]")
            section = head
        value: Any = loaded.config
        for part in key.split("."):
            value = getattr(value, part)
        if key in KEY_FILES and value and not private.name_of(Path(value).expanduser()):
            value = "****"  # no file has this name: it may be the key itself
        print(f"{name} = {masked(value)}".ljust(60) + f"  # {loaded.sources[key]}")
    print(f"\n# bus directory in force: {bus_directory(loaded.config)}")
    if not loaded.config.bus.directory and (note := default().note):
        print(f"# {note}")
    key = "set, ****" if os.environ.get("OPENAI_API_KEY") else "not set"
    print(f"# OPENAI_API_KEY: {key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
