"""An MCP server with two functions: ``… stdio NAME``, ``… http NAME`` or ``… sse NAME``.

Over HTTP and SSE it prints its address. With ``more`` after the name it has two further functions,
one that fails and one that takes a while; with ``grows``, one that adds a function.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

#: A picture of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
)


def server(name: str, *, more: bool) -> MCPServer:
    """Return a server whose functions have this name in theirs."""
    made = MCPServer(name)

    @made.tool(name=f"{name}_lookup")
    def lookup(word: str = "tea") -> str:
        """Look a word up."""
        return f"{name} says that {word} is in the cupboard."

    @made.tool(name=f"{name}_picture")
    def picture() -> Image:
        """Take a picture."""
        return Image(data=PIXEL, format="png")

    if not more:
        return made

    @made.tool(name=f"{name}_broken")
    def broken() -> str:
        """Fail."""
        raise ToolError("there is no tea")

    @made.tool(name=f"{name}_slow")
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(1.5)
        return "slow is ready"

    return made


def add_growth(made: MCPServer) -> None:
    """Add a function that adds a function, and reports its progress meanwhile."""

    @made.tool()
    async def grow(ctx: Context) -> str:
        """Learn something."""
        for step in range(100):
            await ctx.report_progress(step, 100, "learns")
        made.add_tool(lambda: "new", name="learnt", description="Do what was learnt.")
        await ctx.notify_tools_changed()
        return "grown"


def main() -> None:
    """Run the server."""
    how, name, *more = sys.argv[1:]
    made = server(name, more="more" in more)
    if "grows" in more:
        add_growth(made)
    if how == "stdio":
        print("a server prints something", file=sys.stderr, flush=True)
        made.run("stdio")
        return
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    path = "sse" if how == "sse" else "mcp"
    print(f"listens at http://127.0.0.1:{listening.getsockname()[1]}/{path}", flush=True)
    app = made.sse_app() if how == "sse" else made.streamable_http_app()
    config = uvicorn.Config(app, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
