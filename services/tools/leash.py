"""``python -I -S leash.py COMMAND…``: run a program that ends with the stage.

An MCP server, or a program that a person's function has started, may ignore the end of its input.
The stage itself may be killed. So a guard in the program's process group watches the program's
standard input, whose other end only the stage has: when the stage is gone, or has closed the pipe,
the guard kills the group.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

#: How long a program may go on after its input has ended, s. Most end at once.
GRACE_S = 1.0
#: How often the guard checks whether the program has ended, s.
LOOK_S = 0.05
#: The signals that end a program's group. The guard has to outlive them.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Above the standard descriptors: the guard must not hold any pipe of the program.
DESCRIPTORS = 65536


def guard() -> None:
    """Start a guard for this process, which leads a process group and has a pipe as its input.

    To be called before this process starts a thread.
    """
    program = os.getpid()
    if os.getpgrp() != program:
        return
    # A signal to the group must not end the guard before the guard ignores it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(1, DESCRIPTORS)
    poll = select.poll()
    poll.register(0, 0)  # a hang-up is always reported
    poll.poll()
    over = time.monotonic() + GRACE_S
    while os.getppid() == program and time.monotonic() < over:
        time.sleep(LOOK_S)
    os.killpg(program, signal.SIGKILL)


def main() -> int:
    """Run the command in place of this process; return the exit code if that is not possible."""
    guard()
    command = sys.argv[1:]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
    return 127


if __name__ == "__main__":
    sys.exit(main())
