"""Public clients call a function of their own at the emulator, and are talked over."""

from __future__ import annotations

import os

import pytest

from tests.support.asynchronous import asynchronous
from tests.support.clients import CLIENTS, NotInstalled, converse, install


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.in_ci])
@asynchronous
async def test_a_function_and_an_interruption(name: str) -> None:
    client = CLIENTS[name]
    try:
        packages = install(client)
    except NotInstalled as why:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} cannot be installed: {why}")
    conversation = await converse(client, packages)
    assert conversation.faults() == [], conversation
