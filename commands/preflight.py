"""``bargein preflight [STAGE …]``: check the settings and the API key, and start nothing.

Each fault is one line. The arguments may be those of ``bargein start``: with stages named, the API
key is only required if link is one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from honcho import environ

from commands import description
from shared import config, registry
from shared.realtime import endpoint
from shared.run import KEY_STAGE


def check(arguments: Sequence[str]) -> int:
    """Check the settings for the stages that these arguments name; return the exit code.

    A file .env in the current directory counts as part of the environment: honcho gives its
    variables to the stages. This process's own environment is as before when the check returns, so
    that the key of the file stays out of it.
    """
    before = dict(os.environ)
    try:
        os.environ.update(environ.parse(Path(".env").read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        print(f"bargein: .env: {error}: put lines of NAME=value in it", file=sys.stderr)
        return 2
    try:
        settings = config.resolve(None, os.environ, []).config
        config.bus_network(settings)
        named = {name for argument in arguments for name in argument.split(",")}
        if KEY_STAGE in named or not named & set(registry.STAGES):
            endpoint.read_key(settings.link)
    except config.ConfigError as error:
        print(f"bargein: {error}", file=sys.stderr)
        return 2
    except endpoint.KeyProblem as error:
        print(f"bargein: {error}", file=sys.stderr)
        return 1
    finally:
        os.environ.clear()
        os.environ.update(before)
    return 0


def main() -> int:
    """Check what can be checked before a stage starts; return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"usage: bargein preflight [STAGE …]\n\n{description(__doc__)}")
        return 0
    return check(arguments)


if __name__ == "__main__":
    sys.exit(main())
