"""A module's functions: which are offered, with which schema, and how they are called."""

from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from services.tools import functions
from services.tools.api import Image
from services.tools.functions import BadArguments, BadFunction

pytestmark = pytest.mark.unit


class Place(msgspec.Struct):
    """A place."""

    room: str
    floor: int = 0


def light(room: str, on: bool, level: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50) -> str:
    """Switch a light."""
    return f"{room} {on} {level}"


def test_the_types_become_the_schema() -> None:
    described = functions.describe(light, "light")
    assert described.description == "Switch a light."
    assert described.parameters == {
        "type": "object",
        "properties": {
            "room": {"type": "string"},
            "on": {"type": "boolean"},
            "level": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        },
        "required": ["room", "on"],
    }


def test_a_struct_a_choice_and_a_list_are_in_the_schema() -> None:
    def put(where: Place, how: Literal["slow", "fast"], names: list[str]) -> None:
        """Put."""

    parameters = functions.describe(put, "put").parameters
    assert parameters["properties"]["where"] == {"$ref": "#/$defs/Place"}
    assert parameters["$defs"]["Place"]["required"] == ["room"]
    assert parameters["properties"]["how"] == {"enum": ["fast", "slow"]}
    read = functions.describe(put, "put").read(
        '{"where":{"room":"hall"},"how":"slow","names":["a"]}'
    )
    assert read == {"where": Place("hall"), "how": "slow", "names": ["a"]}


def test_the_arguments_are_read_as_the_types_say() -> None:
    described = functions.describe(light, "light")
    assert described.read('{"room":"hall","on":true,"extra":1}') == {
        "room": "hall",
        "on": True,
        "level": 50,
    }
    # A model writes numbers as texts now and then.
    assert described.read('{"room":"hall","on":"true","level":"7"}')["level"] == 7


@pytest.mark.parametrize("text", ["{", "[]", '{"room":"hall"}', '{"room":"h","on":1,"level":0}'])
def test_arguments_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(BadArguments):
        functions.describe(light, "light").read(text)


def test_a_function_without_arguments_has_an_empty_schema() -> None:
    def clock() -> str:
        return "noon"

    described = functions.describe(clock, "clock")
    assert described.parameters["properties"] == {}
    assert described.read("") == {}


class Spot(pydantic.BaseModel):
    """A part of a model."""

    name: str


class Model(pydantic.BaseModel):
    """A model of pydantic, as many people write it."""

    name: str
    near: list[Spot] = []


def visit(model: Model, file: Path, what: object = None) -> Model:
    """Take types that msgspec does not know."""
    assert isinstance(file, Path)
    return model


def test_models_of_pydantic_and_paths_are_types_like_others() -> None:
    described = functions.describe(visit, "visit")
    shown = described.parameters["properties"]
    assert shown["file"]["type"] == "string"
    assert shown["model"]["properties"]["name"]["type"] == "string"
    assert shown["model"]["properties"]["near"]["items"]["type"] == "object"
    given = described.read('{"model":{"name":"a","near":[{"name":"b"}]},"file":"x"}')
    assert given["model"] == Model(name="a", near=[Spot(name="b")])
    assert functions.output(visit(**given)).text.startswith('{"name":"a","near":[{"name":"b"')
    with pytest.raises(BadArguments, match="name"):
        described.read('{"model":{},"file":"x"}')


def unusable(*rest: int) -> None:
    """Take any number of arguments."""


def unknown(value: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take something that nobody knows."""


def mangled(__value: int) -> None:
    """Take a parameter whose name no struct can have."""


@pytest.mark.parametrize("call", [unusable, unknown, mangled])
def test_a_function_that_cannot_be_described_is_refused(call: Any) -> None:
    with pytest.raises(BadFunction):
        functions.describe(call, "call")


def module(text: str) -> types.ModuleType:
    made = types.ModuleType("made")
    exec(text, made.__dict__)
    return made


def test_the_modules_own_public_functions_are_offered() -> None:
    made = module(
        "from os.path import join\n"
        "def one(): 'Do it.'\n"
        "async def two(): pass\n"
        "def _three(): pass\n"
        "def four(*a): pass\n"
        "class Five: pass\n"
        "def six(): yield\n"
        "async def seven(): yield\n"
    )
    found, faults = functions.offered(made)
    assert [(f.name, f.is_async) for f in found] == [("one", False), ("two", True)]
    assert faults == [
        "two has no docstring: the model can only guess when to call it",
        "four is not offered: the parameter a has no name for the model",
        "six is not offered: it yields its values: let it return them, as a list",
        "seven is not offered: it yields its values: let it return them, as a list",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("calendar", "calendar is the name of another module"),  # Python's own would be offered
        ("shared", "shared is the name of another module"),
        ("my_tools.py", "'my_tools', for my_tools.py"),
        ("./tools/lamps.py", "'lamps', for lamps.py"),
    ],
)
def test_a_name_that_cannot_be_a_persons_module_is_refused(name: str, why: str) -> None:
    with pytest.raises(ImportError, match=why):
        functions.checked_name(name)


def test_methods_of_objects_and_functions_with_a_cache_are_offered() -> None:
    made = module(
        "from functools import lru_cache\n"
        "class Room:\n"
        "    def light(self, on: bool): 'Switch.'\n"
        "    @classmethod\n"
        "    def all(cls): 'List.'\n"
        "room = Room()\n"
        "light, rooms = room.light, Room.all\n"
        "@lru_cache\n"
        "def sunset(day: str): 'Compute.'\n"
    )
    found, faults = functions.offered(made)
    assert [f.name for f in found] == ["light", "rooms", "sunset"]
    assert [list(f.parameters["properties"]) for f in found] == [["on"], [], ["day"]]
    assert faults == []


def test_all_says_which_are_offered() -> None:
    found, faults = functions.offered(
        module("from os.path import join\n__all__ = ['isabs', 'gone']\nfrom os.path import isabs")
    )
    assert [f.name for f in found] == ["isabs"]
    assert "gone is not offered: the module has no such function" in faults


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("noon", "noon"),
        (None, "Done."),
        (5, "5"),
        ({"a": [1, 2]}, '{"a":[1,2]}'),
        (["a", "b"], '["a","b"]'),
        (Place("hall"), '{"room":"hall","floor":0}'),
        (object, "<class 'object'>"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "[2 bytes that are no text]"),
        (math.nan, "null"),
        (10**30, "1" + 30 * "0"),
        ("half \udcff", "half ?"),
    ],
)
def test_the_value_of_a_function_becomes_text(value: Any, text: str) -> None:
    assert functions.output(value).text.strip('"') == text


def test_pictures_are_apart() -> None:
    output = functions.output(["look", Image(b"\x89PNG")])
    assert (output.text, output.images) == ("look", ["data:image/png;base64,iVBORw=="])
    assert functions.output(Image(b"", "image/jpeg")).images == ["data:image/jpeg;base64,"]
