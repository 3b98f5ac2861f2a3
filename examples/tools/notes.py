"""Notes in an SQLite file: ``$NOTES_FILE``, or ``notes.db`` in the home directory.

In config.toml: ``[tools] modules = ["examples.tools.notes"]``. Then say "Remember that the key is
under the mat", and later "Where is the key?".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def add_note(text: str) -> str:
    """Write down something that the person wants to remember."""
    with _notes() as notes:
        number = notes.execute("INSERT INTO notes (text) VALUES (?)", [text]).lastrowid
    return f"Note {number} is written."


def find_notes(word: str = "") -> list[str]:
    """List the newest notes that contain a word; all notes if no word is given."""
    with _notes() as notes:
        rows = notes.execute(
            "SELECT number, text, at FROM notes WHERE text LIKE ? ORDER BY number DESC LIMIT 20",
            [f"%{word}%"],
        ).fetchall()
    return [f"note {number} of {at}: {text}" for number, text, at in rows]


def delete_note(number: int) -> str:
    """Delete the note with this number."""
    with _notes() as notes:
        deleted = notes.execute("DELETE FROM notes WHERE number = ?", [number]).rowcount
    return f"Note {number} is deleted." if deleted else f"There is no note {number}."


@contextmanager
def _notes() -> Iterator[sqlite3.Connection]:
    # Each call has a connection of its own, because calls run at the same time, in threads.
    path = Path(os.environ.get("NOTES_FILE") or "~/notes.db").expanduser()
    notes = sqlite3.connect(path)
    try:
        with notes:
            notes.execute(
                "CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, text TEXT NOT NULL,"
                " at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            )
            yield notes
    finally:
        notes.close()
