"""Before the stages start: is the configuration right, and is there a key? One line each if not.

``python -m commands.preflight [STAGE …]``: with stages named, as for bin/start, the server's key is
asked for only where link is among them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from honcho import environ

from shared import config, registry
from shared.realtime import endpoint
from shared.stage import KEY_STAGE


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
        config.bus_network(settings)
        named = {name for argument in sys.argv[1:] for name in argument.split(",")}
        if KEY_STAGE in named or not named & set(registry.STAGES):
            endpoint.read_key(settings.link)
    except (config.ConfigError, endpoint.KeyProblem) as error:
        print(f"bargein: {error}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
