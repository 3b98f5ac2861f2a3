"""The tools stage: it runs the functions that the model calls.

With nothing configured it offers nothing and imports nothing.
"""

from __future__ import annotations

from shared import messages
from shared.bus import Delivery
from shared.run import run
from shared.stage import Stage


class Tools:
    """The stage that offers functions and runs them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        stage.subscribe(messages.ToolCall, self._on_call)
        stage.subscribe(messages.Control, self._on_control)
        stage.publish(messages.ToolOffer(payload=b"[]"))
        stage.publish(messages.ToolState())
        stage.state = "no functions are configured"
        stage.log.info("no functions are configured: tools.modules and tools.mcp_file name them")

    def _on_call(self, delivery: Delivery[messages.ToolCall]) -> None:
        pass

    def _on_control(self, delivery: Delivery[messages.Control]) -> None:
        pass


def main() -> int:
    """Run the stage."""
    return run("tools", Tools, "Runs the functions that the model calls.")


if __name__ == "__main__":
    raise SystemExit(main())
