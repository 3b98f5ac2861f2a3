"""The start of ``bargein``, which is also ``python -m commands``; see ``commands.cli``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command that the command line names; return its exit code.

    Until a command sets a handler of its own, Ctrl-C ends the process at once and without a
    traceback. For this reason the rest is imported here, after the signal was set.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from commands import cli  # noqa: PLC0415 - see above

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
