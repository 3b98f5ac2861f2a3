"""The examples in examples/tools: each can be offered, and does what it says."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import pytest

from examples.tools import lookup, notes, timers
from services.tools import api, functions

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[3] / "examples" / "tools"


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("[a-z]*.py")))
def test_each_function_is_offered_with_a_description(name: str) -> None:
    found, faults = functions.offered(importlib.import_module(f"examples.tools.{name}"))
    assert faults == []
    assert found
    assert all(each.description for each in found)


def test_a_timer_speaks_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    said, spoken = [], threading.Event()

    def hear(text: str) -> None:
        said.append(text)
        spoken.set()

    monkeypatch.setattr(api._Sender, "send", staticmethod(hear))
    assert timers.set_timer(60, "cake") == "The timer cake is set for 60 minutes."
    assert timers.set_timer(60, "cake") == "A timer named cake runs already."
    assert timers.set_timer(0.0005, "tea")
    assert spoken.wait(10)
    assert said == ["The timer named tea is due."]
    assert timers.list_timers() == ["cake: 60.0 minutes"]
    assert timers.cancel_timer("cake") == "The timer cake is cancelled."
    assert timers.cancel_timer("cake") == "There is no timer named cake."
    assert timers.current_time().startswith("It is ")


def test_notes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_FILE", str(tmp_path / "notes.db"))
    assert notes.add_note("the key is under the mat") == "Note 1 is written."
    notes.add_note("buy tea")
    [found] = notes.find_notes("KEY")
    assert found.endswith("the key is under the mat")
    assert len(notes.find_notes()) == 2
    assert notes.delete_note(1) == "Note 1 is deleted."
    assert notes.delete_note(1) == "There is no note 1."
    assert notes.find_notes("key") == []


def test_documents_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCUMENTS", str(tmp_path))
    (tmp_path / "sea.md").write_text("The tide comes twice a day.\n\nThe boat is blue.")
    (tmp_path / "bread.txt").write_text("Bread rises. The tide has no part in it, nor has a day.")
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe tide")
    best, *_ = lookup.search_documents("tide twice day")
    assert best == "sea.md: The tide comes twice a day."
    assert lookup.search_documents("volcano") == ["Nothing was found."]
    assert lookup.list_documents() == ["bread.txt", "broken.txt", "sea.md"]
