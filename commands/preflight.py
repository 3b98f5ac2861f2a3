"""``bargein preflight [STAGE …]``: check the settings, the key, the proxy and the bus directory.

The command starts nothing, and prints each fault as one line. It takes the arguments of ``bargein
start``: if they name stages, the API key is only needed if link is one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from commands import description, envfile
from shared import config, proxy, registry
from shared.directory import BusError, check_room, default, prepare_directory
from shared.realtime import endpoint
from shared.run import KEY_STAGE


def check(arguments: Sequence[str]) -> int:
    """Check the settings for the stages that these arguments name; return the exit code.

    A file .env in the current directory counts as part of the environment: the launcher gives its
    variables to the stages. This process's own environment is as before when the check returns, so
    that the key of the file stays out of it.
    """
    before = dict(os.environ)
    try:
        values, oddities = envfile.read_files(*envfile.named_on(arguments))
        _say(oddities)
        _say(
            f"{name} is not a setting: did you mean {meant}?"
            for name in sorted(before)
            if (meant := config.meant_by(name))
        )
        os.environ.update(values)
        settings = config.resolve(None, os.environ, []).config
        config.bus_network(settings)
        named = {name for argument in arguments for name in argument.split(",")}
        if KEY_STAGE in named or not named & set(registry.STAGES):
            key = endpoint.read_key(settings.link)
            proxy.choose(endpoint.request(settings.link, key)[0], settings.link.proxy, os.environ)
            _say(filter(None, [endpoint.exposed(settings.link)]))
        _say(check_directory(settings))
    except (config.ConfigError, envfile.EnvFileError) as error:
        _say([error])
        return 2
    except (endpoint.KeyProblem, proxy.ProxyProblem, BusError) as error:
        _say([error])
        return 1
    finally:
        os.environ.clear()
        os.environ.update(before)
    return 0


def settings_of(arguments: Sequence[str]) -> config.Config:
    """Return the settings of the stages that these arguments start.

    Raises config.ConfigError and envfile.EnvFileError.
    """
    values, _ = envfile.read_files(*envfile.named_on(arguments))
    return config.resolve(None, {**os.environ, **values}, []).config


def _say(lines: Iterable[object]) -> None:
    for line in lines:
        print(f"bargein: {line}", file=sys.stderr)


def check_directory(settings: config.Config) -> list[str]:
    """Make the bus directory. Return a line that says why it is not the usual one, if it is not.

    Raises BusError if the directory is not safe, or if nothing can be written to it.
    """
    directory = prepare_directory(config.bus_directory(settings))
    check_room(directory)
    note = default().note
    return [note] if note and not settings.bus.directory else []


def main() -> int:
    """Check what can be checked before a stage starts; return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"usage: bargein preflight [STAGE …]\n\n{description(__doc__)}")
        return 0
    return check(arguments)


if __name__ == "__main__":
    sys.exit(main())
