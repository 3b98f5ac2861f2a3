"""Real processes for every test of this ring, and an end to all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process import keeper
from tests.process.pipeline import Keeper, Pipeline


@pytest.fixture(scope="session")
def kept() -> Iterator[Keeper]:
    """Give what ends every process of this ring, even when the tests are killed."""
    process = Keeper()
    yield process
    assert not keeper.bearers(process.token)
    process.close()


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Give a bus of its own, with no stage on it yet."""
    with Pipeline(kept) as made:
        yield made
