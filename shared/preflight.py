"""Before the stages start: is the configuration right, and is there a key? One line each if not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from honcho import environ

from shared import config
from shared.realtime import endpoint


def main() -> int:
    """Check what can be checked before anything starts; give the exit code."""
    try:
        # as honcho does, for what it starts
        os.environ.update(environ.parse(Path(".env").read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        print(f"bargein: .env: {error}: put lines of NAME=value in it", file=sys.stderr)
        return 2
    try:
        settings = config.resolve(None, os.environ, []).config
        endpoint.read_key(settings.link)
    except (config.ConfigError, endpoint.KeyProblem) as error:
        print(f"bargein: {error}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
