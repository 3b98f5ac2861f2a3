"""A stage that spins: ``python -m benchmarks.spinning STAGE`` is that stage until its loop hangs.

Two seconds after its start the stage computes for ever, like a stage with a bug: it reads nothing
any more, and uses as much of a core as it gets.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from shared.stage import Stage

AFTER_S = 2.0


def main() -> int:
    """Run the stage named by the first argument."""
    module = importlib.import_module(f"services.{sys.argv.pop(1)}.__main__")
    run = module.run

    def run_and_spin(
        name: str, set_up: Callable[[Stage], object], *rest: Any, **options: Any
    ) -> int:
        def set_up_to_spin(made: Stage) -> None:
            set_up(made)
            made.after(AFTER_S, _spin)

        code: int = run(name, set_up_to_spin, *rest, **options)
        return code

    module.run = run_and_spin  # type: ignore[attr-defined]
    code: int = module.main()
    return code


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
