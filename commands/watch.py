"""``bargein watch``: print the conversation's states, captions and interruptions as lines.

With ``--json`` each line is an object of the door, as docs/door.md describes it.
"""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Container
from typing import Any

import msgspec

from commands import description, door
from shared import config
from shared.command_line import Parser
from shared.printable import printable

#: The door sends the health of the stages once a second. After three s without a message, its
#: process is stopped.
SILENT_S = 3.0


def line(told: dict[str, Any], printed: Container[str] = ()) -> str:
    """Return a message of the door in words; "" for one that has none.

    ``printed``: the items whose captions were printed. The words of a person can come after the
    reply to them, and a line cannot be put before another one: it says so instead.
    """
    match told["type"]:
        case "snapshot" | "state":
            return str(told["state"])
        # A caption is printed once: when all of it was heard, or when it was cut.
        case "caption" if (
            told["final"]
            and (told["cut"] or not told["unheard"].strip())
            and told["item_id"] not in printed
        ):
            unheard = f" [not heard: {told['unheard'].strip()}]" if told["cut"] else ""
            late = (
                " (before that)" if told["role"] == "user" and told.get("before") in printed else ""
            )
            return f"{told['role']}{late}: {told['heard'].strip()}{unheard}"
        case "interruption":
            silent = told["silence_ms"]
            after = "" if silent is None else f" after {silent:.0f} ms"
            heard, received = told["heard_ms"] / 1000, told["received_ms"] / 1000
            if not received:
                return f"interrupted{after}: it had no sound"
            return f"interrupted{after}: heard {heard:.1f} of {received:.1f} s"
        case "result":
            text = f": {' '.join(told['text'].split())}" if told["text"] else ""
            return f"function {told['summary']}: {told['result']}{text}"
        case "dropped":
            return f"{told['count']} messages were dropped: this program did not take them in time"
    return ""


def main() -> int:
    """Watch until the conversation or the person ends it; return the exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = Parser(prog="bargein watch", description=description(__doc__))
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument(
        "--levels", action="store_true", help="with --json: also the levels of both voices"
    )
    config.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        directory = config.bus_directory(config.load(arguments).config)
        connection = door.connect(directory)
        connection.request("GET", f"/watch?levels={int(arguments.levels)}")
        response = connection.getresponse()
        connection.sock.settimeout(SILENT_S)
        shown = ""
        printed: set[str] = set()
        while text := response.readline():
            if arguments.json:
                print(printable(text.decode().rstrip("\n")), flush=True)
                continue
            told = msgspec.json.decode(text)
            said = line(told, printed)
            if said and said != shown:
                shown = said
                if told["type"] == "caption":
                    printed.add(told["item_id"])
                print(printable(said), flush=True)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except door.NoDoor as error:
        print(f"watch: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(
            f"watch: monitor has sent nothing for {SILENT_S:g} s: is it stopped?", file=sys.stderr
        )
        return 1
    except (OSError, http.client.HTTPException) as error:
        print(f"watch: monitor has ended ({error})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
