"""``bargein start``: check the settings and the API key, then start the stages in Procfile.

The arguments are those of ``honcho start``. The first argument that is not an option is a stage:
with stages named, only these are started.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from commands import launcher, preflight
from shared import config

HELP = """\
usage: bargein start [arguments of "honcho start"]

Starts the stages in Procfile, or only those named: bargein start capture uplink link downlink
The API key comes from OPENAI_API_KEY, or from the file that link.key_file in config.toml names.
Ctrl-C ends the conversation.

  -q a,b        start a and b too, without showing what they print
  --no-colour   for a terminal without colours"""


def main() -> int:
    """Check the settings, then run the stages until the conversation ends; return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return 0
    # honcho and preflight read Procfile and .env from the current directory.
    os.chdir(config.ROOT)
    # Each line of Procfile says "python": let that be the Python that runs this command.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # A wrong setting is reported once here, instead of once by each stage.
    if code := preflight.check(arguments):
        return code
    # A stage that is started again later has to find the directory that the others use.
    os.environ["BARGEIN_BUS__DIRECTORY"] = str(preflight.bus_directory(arguments))
    return launcher.run(["-f", "Procfile", *arguments])


if __name__ == "__main__":
    sys.exit(main())
