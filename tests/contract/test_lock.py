"""requirements.lock: it has every package of pyproject.toml, with hashes, and no registry."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from shared import config

pytestmark = pytest.mark.contract

LOCK = (config.ROOT / "requirements.lock").read_text("utf-8")
#: The packages with their versions and, after them, their hashes.
PINS = re.findall(
    r"^([a-z0-9._-]+)==([^\s;]+)(?: ; [^\\]+)? \\\n((?:    --hash=.+\n)+)", LOCK, re.MULTILINE
)


def test_every_required_package_is_in_the_lock_file() -> None:
    project = tomllib.loads((config.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        Requirement(line)
        for lines in (project["dependencies"], *project["optional-dependencies"].values())
        for line in lines
    ]
    locked: dict[str, list[str]] = {}
    for name, version, _ in PINS:
        locked.setdefault(name, []).append(version)
    missing = [
        str(each)
        for each in wanted
        if each.name != project["name"]
        and not any(each.specifier.contains(v) for v in locked.get(each.name.lower(), []))
    ]
    assert missing == [], "CONTRIBUTING.md says how to renew requirements.lock"


def test_every_package_has_hashes_and_no_registry_is_named() -> None:
    assert len(PINS) == len(re.findall(r"^[a-z].*==", LOCK, re.MULTILINE))
    for _, _, hashes in PINS:
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", hashes)
    assert "://" not in LOCK
    assert "--index" not in LOCK
