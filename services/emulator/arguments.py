"""The command line of the emulator. ``option_table`` holds the options."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from services.emulator.option_table import GROUPS
from services.emulator.options import (
    DEFAULT_URL,
    ODD_DELTAS,
    URL_VARIABLE,
    BadOption,
    Faults,
    Options,
    loopback_address,
)
from services.emulator.twists import TWISTS

_DESCRIPTION: Final = """\
An emulator of the OpenAI Realtime API. Use it to try and test a client without a
key, a network or a sound card. The emulator listens on this machine only. It detects
speech in the audio that a client sends, answers with recorded speech, and keeps the
service's timing. It can also make mistakes on purpose (see "faults")."""

_EPILOG: Final = """\
examples:
  bargein emulator
      speak recorded replies, on the default address
  bargein emulator --url ws://127.0.0.1:0/v1/realtime --reply tone:5
      listen on a free port (the log shows which), and answer with a tone of 5 s
  bargein emulator --late 600 --garbage all --journal journal.jsonl
      test how a client handles late audio and garbage, and keep a journal

twists: how some other servers behave (see docs/servers.md):
{twists}

SIGINT (Ctrl-C) or SIGTERM ends the emulator. At SIGUSR1 the emulator writes the
content of every conversation to the journal."""


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """Return the options that a command line sets.

    Raises BadOption with one line for an option that cannot be used, and SystemExit(0) after
    ``--help``.
    """
    given = vars(_parser().parse_args(argv))
    environ = os.environ if environ is None else environ
    given.setdefault("url", environ.get(URL_VARIABLE) or DEFAULT_URL)
    loopback_address(given["url"])
    for several in {"keys", "origins", "twists", "omitted"} & given.keys():
        given[several] = tuple(given[several])
    if given.pop("burst", False):
        given["pace"] = 0.0
    if given.pop("odd_deltas", False):
        given |= {"delta_bytes": ODD_DELTAS, "cycle_deltas": True}
    faults = {name: given.pop(name) for name in Faults.__dataclass_fields__ if name in given}
    return Options(**given, faults=Faults(**faults))


def _listed(texts: Mapping[str, str]) -> str:
    """Return names with their descriptions, as lines of at most 80 characters."""
    width = max(map(len, texts)) + 4
    return "\n".join(
        textwrap.fill(
            text, 80, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width
        )
        for name, text in texts.items()
    )


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises BadOption with one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message} (--help shows the options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bargein emulator",
        usage="%(prog)s [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(twists=_listed(TWISTS)),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for name, field, keywords in options:
            # An option that is not given is not set, so that the field's own default holds.
            group.add_argument(name, dest=field, default=argparse.SUPPRESS, **keywords)
    return parser
