"""The file .env: read as python-dotenv reads it, with a line for each oddity.

honcho has a parser of its own, which drops blanks and cuts a value off at ``#``. The launcher gives
honcho the values that this module reads, so that preflight and the stages see the same values.
"""

from __future__ import annotations

import errno
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from shared import config
from shared.private import read_file
from shared.realtime import endpoint
from shared.redaction import Refusal, shown

#: The file that is read if the command line names no other.
DEFAULT = ".env"
#: The name of a variable.
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: A value without quotes that goes on with the next variable: both stand in one line.
_SAME_LINE = re.compile(rf"\s(?:export\s+)?({endpoint.KEY_VARIABLE}|{config.PREFIX}\w*__\w+)\s*=")
#: A line in a value in quotes that looks like the next variable: the quote before it is not closed.
_NEXT_VARIABLE = re.compile(r"\n\s*(?:export\s+)?[A-Z_][A-Z0-9_]*=")
#: A line that gives one of Bargein's own variables.
_OURS = re.compile(
    rf"^\s*(?:export\s+)?({endpoint.KEY_VARIABLE}|{config.PREFIX}\w*__\w+)\b", re.MULTILINE
)

# This module reports what python-dotenv cannot read, with the name of the file.
logging.getLogger("dotenv.main").setLevel(logging.CRITICAL)


class EnvFileError(Refusal):
    """Raised when a file cannot be used. Its text is one line, without the values."""


def read(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the variables of a file, and one line for each oddity. A missing file has none.

    Raises EnvFileError if the file cannot be read, or if a line that gives the key or a setting has
    no value that can be read.
    """
    try:
        # Editors on Windows put a byte order mark at the beginning.
        content = read_file(path)
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        raise EnvFileError(f"{path}: {error.strerror}: {_remedy(error)}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise EnvFileError(f"{path}: line {line}: not UTF-8: save the file as UTF-8") from None
    if text[1:4:2] == "\0\0":  # UTF-16 without a byte order mark
        raise EnvFileError(f"{path}: line 1: not UTF-8: save the file as UTF-8")
    values = dotenv_values(stream=io.StringIO(text))
    oddities = []
    seen: dict[str, str | None] = {}
    for each in parse_stream(io.StringIO(text)):
        oddity = _oddity(each, path)
        if not oddity and each.key is not None:
            oddity = _odd_value(each.key, each.value or "", values)
            if seen.get(each.key, each.value) != each.value:
                oddity = oddity or f"{each.key} is given again: the last value counts"
            seen[each.key] = each.value
        if oddity:
            oddities.append(shown(f"{path}: line {_line(each)}: {oddity}"))
    return {n: v for n, v in values.items() if v is not None and "\0" not in v}, oddities


def read_files(names: str, root: str = ".") -> tuple[dict[str, str], list[str]]:
    """Return the variables, and the oddities, of the files of honcho's option ``--env``."""
    values: dict[str, str] = {}
    oddities: list[str] = []
    for name in names.split(","):
        more, odd = read(Path(root) / name.strip())
        values |= more
        oddities += odd
    return values, oddities


def named_on(arguments: Sequence[str]) -> tuple[str, str]:
    """Return the files and the folder that the arguments of ``honcho start`` name."""
    files, root = DEFAULT, "."
    for option, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if option in ("-e", "--env"):
            files = value
        elif option in ("-d", "--app-root"):
            root = value
        elif option.startswith("--env="):
            files = option.removeprefix("--env=")
        elif option.startswith("--app-root="):
            root = option.removeprefix("--app-root=")
    return files, root


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "make it readable, or remove it"
    return "put a file with NAME=value lines there, or remove it"


def _line(binding: Binding) -> int:
    """Return the number of the line in which a binding begins; its text may begin with blanks."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _oddity(binding: Binding, path: Path) -> str:
    """Return what is odd about one binding, without its value; "" if nothing is."""
    text, key = binding.original.string, binding.key
    why = "cannot be read: write NAME=value, and put a value with quotes in other quotes"
    if binding.error or "\0" in text:
        # A quote that is not closed takes the lines up to the next quote with it.
        if ours := _OURS.search(text):
            raise EnvFileError(f"{path}: line {_line(binding)}: {ours[1]} {why}")
        return f"{why}; ignored"
    if key is None:
        return ""
    given = text.partition("=")[2].strip()
    quoted = given[:1] in ("'", '"')
    if binding.value is None:
        # A line that is no name can be the key itself.
        return (
            f"{key} has no value: write {key}=value" if _NAME.fullmatch(key) else f"{why}; ignored"
        )
    if quoted and _NEXT_VARIABLE.search(given):
        return f"the value of {key} goes on over the next variable: is its closing quote missing?"
    if not quoted and re.search(r"\s#", given):
        return f"the value of {key} ends before '#': put it in quotes if '#' belongs to it"
    if not quoted and (second := _SAME_LINE.search(f" {given}")) and second.start():
        return f"the value of {key} goes on with {second[1]}=: write that on a line of its own"
    if not _NAME.fullmatch(key):
        ours = _OURS.match(re.sub(r"^\W*(env:)?", "", key).replace("-", "_"))
        return "no name of a variable before '='" + (f": did you mean {ours[1]}?" if ours else "")
    if meant := config.meant_by(key):
        return f"{key} is not a setting: did you mean {meant}?"
    return ""


def _odd_value(key: str, value: str, values: Mapping[str, str | None]) -> str:
    """Return what is odd about a variable that a shell would read otherwise; "" if nothing is."""
    if value.startswith(("$(", "`")):
        return f"{key}: nothing runs the command in the value: write its output"
    if value and not values.get(key) and "${" in value:
        return f"{key} is empty: the environment has no variable that its value names"
    meant = key.upper()
    if key != meant and _OURS.match(meant):
        return f"{key} is in lower case: did you mean {meant}?"
    return ""
