"""Several threads of a process decode their first messages at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

#: A type is new to msgspec once in a process, so the race needs new types: it is run many times.
PROGRAM = """
import sys, threading
from shared import codec, registry

sys.setswitchinterval(1e-6)
TYPES = (
    "from __future__ import annotations\\n"
    "import msgspec\\n"
    "from shared import messages\\n"
    "class Part(msgspec.Struct, frozen=True):\\n"
    + "".join(f"    f{n}: dict[str, list[int]] = {{}}\\n" for n in range(20))
    + "class Kind(messages.Message, frozen=True):\\n"
    + "".join(f"    f{n}: tuple[Part, ...] = ()\\n" for n in range(20))
)
for number in range(100):
    exec(TYPES, space := {"__name__": f"kinds{number}"})
    sys.modules[space["__name__"]] = type("Module", (), space)
    barrier = threading.Barrier(4)

    def decode() -> None:
        barrier.wait()
        codec._convert(space["Kind"], {"seq": 1, "epoch": 1, "t": 1}, b"")

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


def test_threads_that_decode_a_type_for_the_first_time_do_not_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
