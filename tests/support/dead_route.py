"""link in a network of its own, where the first address of the server's name is dead.

Run by ``unshare -rnm python -m tests.support.dead_route DIRECTORY``: the network and the file with
the names belong to this process and its children. Prints what link logs until it is connected.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support import servers
from tests.support.servers import Server

NAME = "dead.test"
#: Packets to this address are lost: nobody answers there, and no router says so.
DEAD = "2001:db8:1::7"


def main(directory: Path) -> None:
    """Make the network, run link in it, and print link's lines and the time that it took."""
    for line in (
        "ip link set lo up",
        "ip link add d0 type veth peer name d1",
        "ip link set d0 up",
        "ip link set d1 up",
        "ip -6 addr add 2001:db8::1/64 dev d0 nodad",
        "ip -6 route add default via 2001:db8::2",
    ):
        subprocess.run(line.split(), check=True)
    hosts = directory / "hosts"
    hosts.write_text(f"{DEAD} {NAME}\n127.0.0.1 {NAME}\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    with Server(servers.serve) as server:
        settings = {
            "link.url": f"ws://{NAME}:{server.port}/v1/realtime",
            "link.allow_insecure": "true",
            "link.auth": "none",
            "bus.directory": str(directory / "bus"),
        }
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        link = subprocess.Popen(
            [sys.executable, "-u", "-m", "services.link", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert link.stderr is not None
        begun = time.monotonic()
        for line in link.stderr:
            print(line, end="")
            if "connecting to" in line:
                begun = time.monotonic()
            if "open: session" in line or "trying again" in line:
                break
        print(f"took {time.monotonic() - begun:.3f} s")
        link.terminate()
        link.wait(5)
        link.stderr.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
