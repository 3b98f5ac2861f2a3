"""The commands that a person runs beside the stages; ``commands.cli`` lists them."""

from __future__ import annotations


def description(docstring: str | None) -> str:
    """Return a module's docstring as the description in a help text."""
    return (docstring or "").replace("``", "'")
