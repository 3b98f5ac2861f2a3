"""docs/bus.md: its reference is the registry's, and its rules are those of ``bargein check``."""

from __future__ import annotations

import re

import pytest

from commands import busdoc
from commands.check.__main__ import CHECKS
from shared import registry
from shared.config import Config

pytestmark = pytest.mark.contract


def test_the_reference_is_up_to_date() -> None:
    written = busdoc.DOCUMENT.read_text("utf-8")
    assert written == busdoc.replaced(written), "stale: run python -m commands.busdoc"


@pytest.mark.parametrize("piece", ["| `mic.frame` | capture |", "- Lossless: ", "| `epoch` |"])
def test_a_reference_that_was_changed_is_stale(piece: str) -> None:
    written = busdoc.DOCUMENT.read_text("utf-8")
    changed = written.replace(piece, "x")
    assert changed != written
    assert busdoc.replaced(changed) == written


def test_the_defaults_that_it_names_are_those_of_the_configuration() -> None:
    _, _, text = busdoc.DOCUMENT.read_text("utf-8").partition("A playback's are")
    text, _, _ = text.partition("\n\n")
    named = re.findall(r"`(\w+)\.(\w+)`\s+`?(\w+)", text)
    assert len(named) == 9
    config = Config()
    for section, key, said in named:
        default = getattr(getattr(config, section), key)
        assert str(default).lower() == said, f"{section}.{key}"


def test_a_document_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        busdoc.replaced("# The bus\n")


@pytest.mark.parametrize("stage", registry.STAGES)
def test_a_stage_has_a_check_and_rules(stage: str) -> None:
    check = CHECKS[stage]
    assert set(check.reads) <= set(registry.stage(stage).reads)
    publishers = {registry.BY_NAME[topic].publisher for topic in check.reads}
    assert publishers <= set(check.neighbours)
    assert f"\n### {stage}\n" in busdoc.DOCUMENT.read_text("utf-8")
