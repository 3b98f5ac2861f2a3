"""``python -m tests.support.clients [NAME…]``: let public clients talk with the emulator."""

from __future__ import annotations

import argparse
import asyncio

from tests.support.clients import CLIENTS, NotInstalled, converse, install


def main() -> int:
    """Run the clients that are named, or all; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.clients", description=__doc__)
    parser.add_argument("client", nargs="*", metavar="NAME", help=", ".join(CLIENTS))
    failed = 0
    for name in parser.parse_args().client or CLIENTS:
        try:
            done = asyncio.run(converse(CLIENTS[name], install(CLIENTS[name])))
        except KeyError:
            parser.error(f"there is no client {name!r}")
        except (NotInstalled, TimeoutError) as error:
            print(f"{name}: FAILED: {str(error) or 'its conversation takes too long'}")
            failed += 1
            continue
        faults = done.faults()
        print(f"{name}: {'FAILED, this does not hold: ' if faults else 'ok'}{'; '.join(faults)}")
        if faults:
            print("\n".join(map(str, [*done.told, *done.errors, done.printed])))
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
