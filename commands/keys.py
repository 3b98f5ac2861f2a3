"""Makes the key of a bus on more than one machine: ``python -m commands.keys [FILE]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shared import network

DEFAULT = "~/.config/bargein/bus.key"


def main() -> int:
    """Make a key; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.keys", description=__doc__)
    parser.add_argument("file", nargs="?", default=DEFAULT, help=f"where (default: {DEFAULT})")
    path = Path(parser.parse_args().file).expanduser().absolute()
    try:
        network.make_key(path)
    except FileExistsError:
        print(f"keys: {path} exists: remove it, or name another file", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"keys: {path}: {error.strerror}: name another file", file=sys.stderr)
        return 1
    print(f"{path}: a new key, for you alone. Copy it to the other machine as it is (scp -p),")
    print(f'and set on both, in [bus] of config.toml: key_file = "{path}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
