"""``bargein config``: every setting in force, and where its value came from.

The output is a config.toml with the same settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from commands import description
from shared.config import ConfigError, add_arguments, bus_directory, load, masked
from shared.directory import default


def main() -> int:
    """Print the settings in force; return the exit code."""
    parser = argparse.ArgumentParser(prog="bargein config", description=description(__doc__))
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
        print(f"{name} = {masked(value)}".ljust(60) + f"  # {loaded.sources[key]}")
    print(f"\n# bus directory in force: {bus_directory(loaded.config)}")
    if not loaded.config.bus.directory and (note := default().note):
        print(f"# {note}")
    key = "set, ****" if os.environ.get("OPENAI_API_KEY") else "not set"
    print(f"# OPENAI_API_KEY: {key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
