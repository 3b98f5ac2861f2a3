"""The Dockerfile: what it copies is there, and what it installs is what the tests ran with.

`.ci/container` builds the image and talks to it.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from shared import config

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def test_copied_files_exist_and_are_not_ignored() -> None:
    admitted = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = [
        name
        for line in re.findall(r"^COPY (?!--)(.*)", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert "services" in copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in admitted), name


def test_every_package_that_is_installed_has_its_version() -> None:
    found = re.search(r"sed -n '([^']*)' requirements\.lock", DOCKERFILE)
    assert found
    versions = subprocess.run(
        ["sed", "-n", found[1], "requirements.lock"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    pinned = [Requirement(line) for line in versions.splitlines()]
    assert all(len(each.specifier) == 1 for each in pinned)
    names = {each.name for each in pinned}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    for name in needed:
        assert re.split(r"[<>=\[ ]", name)[0].lower() in names


def test_the_settings_of_the_image_are_valid() -> None:
    settings = dict(re.findall(r"(BARGEIN_\w+)=(\S+)", DOCKERFILE))
    found = config.resolve(Path("/dev/null"), settings, []).config
    assert found.capture.device == found.playback.device == "browser"
    assert f"EXPOSE {found.monitor.port}" in DOCKERFILE
    assert f":{found.monitor.port}/" in DOCKERFILE, "the health check"
    assert f":{found.monitor.port}" in (ROOT / "compose.yaml").read_text("utf-8")
    assert re.search(r"^USER (?!root)", DOCKERFILE, re.MULTILINE)
