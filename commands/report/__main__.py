"""``bargein report FILE``: make one HTML page of a recording of the bus.

The page needs no other file and no network. It shows the conversation as a picture, each
interruption with its times, how these times are distributed, the words as they were heard, the
sound, the health of the stages, and what was slow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from commands import description
from commands.report.facts import Facts
from commands.report.page import page
from commands.report.sound import Sound
from shared import recording
from shared.command_line import Parser
from shared.private import open_own
from shared.recording import Recording


def make(file: Path, *, redact: bool) -> str:
    """Return the page for a recording. Raises RecordingError."""
    facts, sound, about = Facts(), Sound(), Recording()
    for each in recording.read(file, about, payloads=("mic.clean", "speaker.frame")):
        facts.take(each)
        sound.take(each)
    facts.finish()
    data = sound.finish()
    if not facts.ended_ns:
        raise recording.RecordingError(f"{file}: no message of the bus is in it")
    if redact or not about.voices:
        data = ""
    return page(facts, about, sound.levels, (sound.begun_ns, data), redact=redact)


def write(file: Path, out: Path, *, redact: bool) -> None:
    """Write the page for a recording. Raises RecordingError and OSError."""
    text = make(file, redact=redact)
    with os.fdopen(open_own(out), "w", encoding="utf-8") as opened:
        opened.write(text)


def main() -> int:
    """Write the page; return the exit code."""
    parser = Parser(prog="bargein report", description=description(__doc__))
    parser.add_argument("file", type=Path, help="a recording: conversation-….mcap")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: report.html beside it)"
    )
    parser.add_argument("--redact", action="store_true", help="leave the words and the voices out")
    arguments = parser.parse_args()
    out = arguments.out or arguments.file.parent / "report.html"
    try:
        write(arguments.file, out, redact=arguments.redact)
    except recording.RecordingError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"report: {out}: {error.strerror}", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
