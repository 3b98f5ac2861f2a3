"""``bargein start``: check the settings and the API key, then start the stages in Procfile.

The arguments are those of ``honcho start``, and two of our own. The first argument that is not an
option is a stage: with stages named, only these are started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from honcho import environ

from commands import launcher, page, practice, preflight
from commands.claim import claim
from commands.screen.log_file import NAME
from commands.screen.output import Output
from shared import config
from shared.directory import BusError
from shared.exit_codes import RUNNING
from shared.lock import AlreadyRunning

HELP = """\
usage: bargein start [-v] [--emulator] [arguments of "honcho start"]

Starts the stages in Procfile, or only the named ones: bargein start capture uplink link downlink
The API key comes from OPENAI_API_KEY, or from the file that link.key_file in config.toml names.
Ctrl-C or Ctrl-D ends the conversation.

  -v            print the log instead of the conversation's words
  --emulator    practise with an emulator of the server, without a key and without .env
  -q a,b        do not print the log of the stages a and b
  --no-colour   for a terminal without colours"""


def emulate(arguments: Sequence[str]) -> list[str]:
    """Change the environment so that the emulator is the server; return honcho's arguments."""
    env = practice.environment(config.resolve(None, os.environ, []).config)
    os.environ.clear()
    os.environ.update(env)
    procfile = environ.parse_procfile(Path("Procfile.demo").read_text("utf-8"))
    known = [name for name in procfile.processes if name != "recorder"]
    named = [argument for argument in arguments if argument in known]
    others = [argument for argument in arguments if argument not in known]
    # A file .env may hold the key, or name another server.
    emulated = ["-f", "Procfile.demo", "-e", os.devnull]
    return [*emulated, *others, *(["emulator", *named] if named else known)]


def main() -> int:
    """Check the settings, then run the stages until the conversation ends; return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return 0
    os.umask(0o077)  # nobody else may read the log
    verbose, emulated = "-v" in arguments, "--emulator" in arguments
    arguments = [each for each in arguments if each not in ("-v", "--emulator")]
    # honcho and preflight read Procfile and .env from the current directory.
    os.chdir(config.ROOT)
    # Each line of Procfile says "python": let that be the Python that runs this command.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    named = arguments
    # A wrong setting is reported once here, instead of once by each stage.
    if emulated:
        try:
            arguments = emulate(arguments)
        except config.ConfigError as error:
            print(error, file=sys.stderr)
            return 2
    else:
        arguments = ["-f", "Procfile", *arguments]
    if code := preflight.check(arguments):
        return code
    # A stage that is started again later has to find the directory that the others use.
    settings = preflight.settings_of(arguments)
    directory = config.bus_directory(settings)
    os.environ["BARGEIN_BUS__DIRECTORY"] = str(directory)
    try:
        claim(directory, named)
    except (AlreadyRunning, BusError) as error:
        print(f"start: {error}", file=sys.stderr)
        return RUNNING if isinstance(error, AlreadyRunning) else 1
    if page.is_silent(settings):
        print("no sound card: a page in your browser is the microphone and the speaker", flush=True)
        os.environ.update(page.DEVICES)
    print(f"the log: {directory / NAME}", flush=True)
    return launcher.run(arguments, partial(Output, directory / NAME, [], verbose=verbose))


if __name__ == "__main__":
    sys.exit(main())
