"""``python -m commands.busdoc``: write the reference in docs/bus.md anew.

The reference is made of the registry, the message types and the text below each of their fields.
The rest of docs/bus.md is written by hand. With ``--check`` nothing is written, and the exit code
is 1 if the file is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import inspect as types

from shared import codec, messages, registry
from shared.bus import AHEAD, readers
from shared.command_line import Parser
from shared.config import ROOT
from shared.messages import server

DOCUMENT = ROOT / "docs" / "bus.md"
BEGIN = "<!-- The reference: written by python -m commands.busdoc. Do not edit. -->"
END = "<!-- The end of the reference. -->"

#: The effect of each kind of queue, for a reader of the document.
QUEUES = {
    registry.Queue.LIVE: "Only the newest messages matter. The publisher holds none for a reader.",
    registry.Queue.LOSSLESS: (
        "No message may be lost. The publisher holds messages while nobody consumes the topic."
    ),
    registry.Queue.STATE: (
        "Each message replaces the one before. The publisher sends the last one again every second"
        " and to each new reader."
    ),
}
#: The payload of each type that has one.
AUDIO, JSON = "audio", "JSON text"
#: The fields of Health that list names of topics, not ids.
TOPIC_LISTS = ("silent", "off_rate")
#: Units that a name tells, and those that the text below a field tells.
NAMED_UNITS = {"_ns": "ns", "_ms": "ms", "_db": "dB"}
TOLD_UNIT = re.compile(r", (µs since 1970|µs|samples|characters|Hz|percent)\b")


def texts(kind: type) -> dict[str, str]:
    """Return the text below each field of a type, inherited ones included, in one line."""
    if kind is msgspec.Struct:
        return {}
    [tree] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    found = texts(kind.__base__ or msgspec.Struct)
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(said))),
            ):
                found[name] = " ".join(said.split())
    return found


def causes() -> dict[str, str]:
    """Return the meaning of each cause of a connection's end: the comments beside them."""
    source = inspect.getsource(server)
    [block] = re.findall(r"(?s)^Cause = Literal\[\n(.*?)^\]", source, re.MULTILINE)
    return dict(re.findall(r'"(\w*)",  # (.+)', block))


def type_words(kind: types.Type) -> str:
    """Return a type in words."""
    match kind:
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return "integer"
        case types.StrType(max_length=length):
            return "text" + (f", at most {length} characters" if length else "")
        case types.LiteralType(values=values):
            return ", ".join(f'`"{value}"`' for value in values)
        case types.ListType(item_type=item, max_length=length):
            return f"list of {item_words(item)}" + (f", at most {length}" if length else "")
        case types.DictType(value_type=value):
            return f"map from text to {type_words(value)}"
        case types.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
    raise TypeError(f"no words for {kind}")


def item_words(kind: types.Type) -> str:
    """Return the type of a list's items in words."""
    return type_words(kind).replace("text, at most 512 characters", "ids")


def unit(name: str, text: str) -> str:
    """Return the unit of a field, empty if it has none."""
    for suffix, named in NAMED_UNITS.items():
        if name.endswith(suffix):
            return named
    found = TOLD_UNIT.search(text)
    return found[1] if found else ""


def fields(kind: type) -> Iterator[str]:
    """Yield the table of a type's fields."""
    struct = types.type_info(kind)
    assert isinstance(struct, types.StructType)
    said = texts(kind)
    rows = [field for field in struct.fields if field.name != "payload"]
    if not rows:
        return
    yield "| field | type | unit | meaning |"
    yield "| --- | --- | --- | --- |"
    for field in rows:
        meaning = said[field.name]
        if field.name == "cause" and isinstance(field.type, types.LiteralType):
            named = causes()
            if named.keys() == set(field.type.values):
                meaning += " " + "; ".join(f'`"{n}"`: {text}' for n, text in named.items()) + "."
        kind_told = type_words(field.type)
        if kind is messages.Health and field.name in TOPIC_LISTS:
            kind_told = kind_told.replace("ids", "topic names")
        if not field.required:
            default = field.default
            if default is msgspec.NODEFAULT:
                default = field.default_factory()
            kind_told += f"; may be left out: `{msgspec.json.encode(default).decode()}`"
        yield f"| `{field.name}` | {kind_told} | {unit(field.name, meaning)} | {meaning} |"
    yield ""


def described(kind: type) -> Iterator[str]:
    """Yield the description of a type, in paragraphs."""
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")


def topic(row: registry.Topic) -> Iterator[str]:
    """Yield the section of a topic."""
    names = [stage.name for stage in registry.ROWS if row.name in stage.reads]
    read_by = " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
    yield f"### `{row.name}`"
    yield ""
    yield from described(row.type)
    rate = f"{row.rate_hz:g} a second" if row.rate_hz else "when something happens"
    if row.rate_hz and row.queue is registry.Queue.STATE:
        rate = f"at least {rate}"
    yield f"- Published by {row.publisher} on `{row.endpoint}.ipc`, {rate}."
    yield f"- Read by {read_by or 'no stage'}."
    if row.queue is registry.Queue.LOSSLESS:
        yield f"- Lossless: consume `{row.consumed_name}`, or observe `{row.name}`."
    elif row.max_age_ms:
        yield f"- Live: a reader drops messages that are older than {row.max_age_ms} ms."
    else:
        yield f"- {row.queue.name.capitalize()}."
    if row.type.payload_limit:
        what = AUDIO if row.type.payload_unit > 1 else JSON
        yield f"- Payload: {what}, at most {row.type.payload_limit} bytes."
    else:
        yield "- No payload: the third frame is empty."
    yield ""
    yield from fields(row.type)


def parts() -> list[type]:
    """Return the types inside messages, in the order in which they are first needed."""
    found: list[type] = []

    def look(kind: types.Type) -> None:
        match kind:
            case types.ListType(item_type=item):
                look(item)
            case types.StructType(cls=cls) if cls not in found:
                found.append(cls)

    for row in registry.TOPICS:
        info = types.type_info(row.type)
        assert isinstance(info, types.StructType)
        for field in info.fields:
            look(field.type)
    return [*found, messages.HistoryTurn, messages.ToolOutput]


def reference() -> str:
    """Return the reference."""
    return "\n".join(_reference()).rstrip("\n") + "\n"


def _reference() -> Iterator[str]:
    yield from (BEGIN, "", "## Stages", "", "| stage | reads | publishes |", "| --- | --- | --- |")
    for stage in registry.ROWS:
        if stage.role in (registry.Role.STAGE, registry.Role.OPTIONAL):
            reads, publishes = (
                " ".join(f"`{name}`" for name in names) for names in (stage.reads, stage.publishes)
            )
            yield f"| `{stage.name}` | {reads} | {publishes} |".replace("|  |", "| |")
    names = ", ".join(registry.LISTENERS)
    yield from ("", f"Listeners ({names}) publish nothing but their health.", "", "## Topics", "")
    yield from ("| topic | publisher | type | queue | rate |", "| --- | --- | --- | --- | --- |")
    for row in registry.TOPICS:
        yield (
            f"| `{row.name}` | {row.publisher} | {row.type.__name__} | {row.queue.name.lower()}"
            f" | {row.rate_hz:g} |"
        )
    yield ""
    yield (
        "The rate is in messages a second. A state's rate is a minimum: the publisher sends it also"
        " whenever the rules below say so. 0: when something happens."
    )
    yield ""
    for queue, text in QUEUES.items():
        yield f"- *{queue.name.lower()}*: {text}"
    yield from ("", "## The header", "")
    yield "A header is one msgpack map with the message's own fields and these four:"
    yield from ("", "| field | type | unit | meaning |", "| --- | --- | --- | --- |")
    version = f"The version of the bus: {codec.VERSION}. A reader refuses any other."
    yield f"| `v` | integer |  | {version} |"
    for name, text in texts(messages.Stamp).items():
        where = "ns" if name == "t" else unit(name, text)
        yield f"| `{name}` | integer | {where} | {text} |"
    yield ""
    yield from limits()
    for row in registry.TOPICS:
        if row.type is not messages.Health:
            yield from topic(row)
    yield from ("### `<stage>.health`", "")
    yield from described(messages.Health)
    yield from ("- State. Each stage publishes its own, once a second.", "- No payload.", "")
    yield from fields(messages.Health)
    yield from ("## Parts of messages", "")
    for kind in parts():
        yield from (f"### {kind.__name__}", "")
        yield from described(kind)
        if kind is messages.Mark:
            yield from ("An array of two integers, not a map.", "")
        yield from fields(kind)
    yield END


def limits() -> Iterator[str]:
    """Yield the limits of a message."""
    hold = f"{readers.HOLD_NS // 1_000_000_000} s and {readers.HOLD_BYTES // 2**20} MiB"
    yield from ("## Limits", "")
    yield f"- A header has at most {codec.MAX_HEADER} bytes. The payload's limit is in each topic."
    yield (
        "- Integers are from 0 to 2^63 - 1. All but the times (`t` and `*_ns`) stay below 2^53, so"
        " that a language whose numbers are doubles holds them exactly. A program in that"
        " language may send an integer as a whole float (2.0): a reader accepts it. From 104 days"
        " after the start of the machine on, a double rounds a time by 1 ns."
    )
    yield "- A field that was left out has the value in its row. A reader ignores unknown fields."
    yield (
        "- A text is a msgpack string, not binary. A part of a message is a map, except that a Mark"
        " is an array. No map has a key twice."
    )
    yield "- Audio is mono, s16le, at 24 kHz, so a payload of audio has an even number of bytes."
    yield f"- A publisher holds a lossless message for at most {hold} of each topic."
    lengths = ", ".join(f"{queue.value} (*{queue.name.lower()}*)" for queue in registry.Queue)
    yield (
        "- Each reader of a socket has one queue at the publisher, for all topics of the socket. It"
        " holds as many messages as the topic with the longest queue allows (the socket option"
        f" SNDHWM): {lengths}. The publisher drops further messages to a reader that has stopped."
        f" Our readers hold {AHEAD} more in their process: set RCVHWM to {AHEAD} for each socket."
    )
    yield from ("- A reader drops live messages that are older than the topic's limit.", "")


def replaced(document: str) -> str:
    """Return the document with the reference in its place."""
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{DOCUMENT.name} has no lines {BEGIN!r} and {END!r}")
    return before + reference().rstrip("\n") + after


def main() -> int:
    """Write the reference, or check it."""
    parser = Parser(prog="python -m commands.busdoc", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1: the file is stale")
    arguments = parser.parse_args()
    path: Path = DOCUMENT
    written = path.read_text("utf-8")
    current = replaced(written)
    if written == current:
        return 0
    if arguments.check:
        print(f"{path}: stale: run python -m commands.busdoc", file=sys.stderr)
        return 1
    path.write_text(current, "utf-8")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
