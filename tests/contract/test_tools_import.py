"""The tools stage costs a person who has configured no functions nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
#: What only somebody with functions needs.
HEAVY = ("mcp", "mcp_types", "httpx2", "pydantic", "services.tools.engine", "services.tools.server")
PROGRAM = "import json, sys, services.tools.__main__; print(json.dumps(sorted(sys.modules)))"


def test_the_stage_imports_nothing_that_only_functions_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert "services.tools.call_queue" in loaded
    assert not set(HEAVY) & set(loaded)
