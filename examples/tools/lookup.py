"""Lookup in a folder of documents: ``$DOCUMENTS``, or ``Documents`` in the home directory.

In config.toml: ``[tools] modules = ["examples.tools.lookup"]``. Then ask something that a text in
the folder (.txt or .md) answers.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta

#: The largest file that is searched, bytes, and the largest number of files.
MAX_SIZE, MAX_FILES = 1_000_000, 2000
#: How many paragraphs are returned.
BEST = 3
WORD = re.compile(r"\w+")

Words = Annotated[str, Meta(description="the words to look for, separated by blanks")]


def search_documents(words: Words) -> list[str]:
    """Search the person's documents. Return the paragraphs that match best, with their files."""
    wanted = {word.casefold() for word in WORD.findall(words)}
    found: list[tuple[int, str]] = []
    for path in _documents():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for paragraph in re.split(r"\n\s*\n", text):
            there = Counter(word.casefold() for word in WORD.findall(paragraph))
            # A paragraph with more of the words is better than one that repeats a word.
            score = sum(10 + min(there[word], 5) for word in wanted if there[word])
            if score:
                found.append((score, f"{path.name}: {paragraph.strip()[:1500]}"))
    found.sort(key=lambda each: each[0], reverse=True)
    return [text for _, text in found[:BEST]] or ["Nothing was found."]


def list_documents() -> list[str]:
    """List the names of the person's documents."""
    return [path.name for path in _documents()]


def _documents() -> Iterator[Path]:
    folder = Path(os.environ.get("DOCUMENTS") or "~/Documents").expanduser()
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in (".txt", ".md"))
    for number, path in enumerate(files):
        if number >= MAX_FILES:
            return
        if path.stat().st_size <= MAX_SIZE:
            yield path
