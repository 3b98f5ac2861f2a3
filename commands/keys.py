"""``bargein keys [FILE]``: make the key for a bus that spans more than one machine."""

from __future__ import annotations

import sys
from pathlib import Path

from commands import description
from shared import network
from shared.command_line import Parser

DEFAULT = "~/.config/bargein/bus.key"


def main() -> int:
    """Make a key; return the exit code."""
    parser = Parser(prog="bargein keys", description=description(__doc__))
    parser.add_argument(
        "file", nargs="?", default=DEFAULT, help=f"the new key file (default: {DEFAULT})"
    )
    named = parser.parse_args().file
    try:
        path = Path(named).expanduser().absolute()
    except RuntimeError:
        print(f"keys: {named}: no such home directory: name another file", file=sys.stderr)
        return 1
    try:
        network.make_key(path)
    except FileExistsError:
        print(f"keys: {path} exists: remove it, or name another file", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"keys: {path}: {error.strerror}: name another file", file=sys.stderr)
        return 1
    print(f"{path}: a new key, which only you can read. Copy the file to the other machine with")
    print("'scp -p', and set on both machines, in section [bus] of config.toml:")
    print(f'key_file = "{path}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
