"""An MCP server that reports progress and changes its list, over each transport."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from services.tools.mcp_file import Server
from services.tools.server import PING_S, McpServer
from tests.support.asynchronous import running, until
from tests.support.pipeline import ROOT

pytestmark = pytest.mark.process

COMMAND = ["-m", "tests.support.functions_server"]


async def grown(server: Server) -> list[str]:
    """Return the names of the functions after the server has added one."""
    changed = asyncio.Event()
    said: list[str] = []
    source = McpServer("web", server, str(ROOT), changed.set, said.append)
    async with running(source.run()):
        await until(lambda: source.tools, changed)
        [grow] = [tool for tool in source.tools if tool.name == "grow"]
        # Sooner than the list is read again anyway.
        async with asyncio.timeout(PING_S / 2):
            assert (await source.call(grow, "{}", "call_1")).text == "grown"
            await changed.wait()
        assert source.trouble == ""
        return [tool.name for tool in source.tools]


@pytest.mark.parametrize("how", ["stdio", "http", "sse"])
def test_a_list_that_changes_is_offered_at_once(how: str, tmp_path: Path) -> None:
    arguments = [*COMMAND, how, "web", "grows"]
    if how == "stdio":
        names = asyncio.run(grown(Server(command=sys.executable, args=arguments)))
    else:
        log = tmp_path / "log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors
            ) as process,
        ):
            try:
                assert process.stdout is not None
                address = process.stdout.readline().decode().split()[-1]
                names = asyncio.run(grown(Server(url=address)))
            finally:
                process.kill()
    assert names == ["web_lookup", "web_picture", "grow", "learnt"]
