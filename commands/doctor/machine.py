"""The checks of this machine: versions, settings, bus directory, permissions."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from commands import preflight
from commands.doctor.findings import Finding
from shared import config, private
from shared.directory import BusError
from shared.realtime import endpoint

#: The recorder and the history need room; less than this is a fault, bytes.
LEAST_FREE = 100 * 1024 * 1024
#: A requirement as pyproject.toml writes it.
_REQUIREMENT = re.compile(r"([\w.-]+)\s*([^;]*)(;.*)?$")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


def check(
    settings: config.Config, changed: int, oddities: Sequence[str], files: Iterable[Path]
) -> Iterator[Finding]:
    """Yield the findings.

    ``changed``: the number of settings that are not the default; ``oddities``: of the file .env;
    ``files``: may hold a secret.
    """
    yield versions(metadata.requires("bargein") or [])
    if oddities:
        yield Finding("settings", False, "; ".join(oddities))
    else:
        yield Finding("settings", True, f"valid; {changed} differ from the default")
    yield _bus(settings)
    exposed = [text for text in map(_exposed, files) if text]
    if warning := endpoint.exposed(settings.link):
        exposed.append(warning)
    if exposed:
        yield Finding("permissions", False, "; ".join(exposed))
    else:
        yield Finding("permissions", True, "nobody else can read a file with a secret")


def versions(requirements: Iterable[str]) -> Finding:
    """Return the finding about the versions of Python and of the packages."""
    about = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    faults = []
    count = 0
    for requirement in requirements:
        parts = _REQUIREMENT.match(requirement)
        if parts is None or "extra" in (parts[3] or ""):
            continue
        count += 1
        try:
            found = metadata.version(parts[1])
        except metadata.PackageNotFoundError:
            faults.append(f"{parts[1]} is missing")
            continue
        if not fits(found, parts[2]):
            faults.append(f"{parts[1]} {found} is not {parts[2].strip()}")
    if faults:
        repair = "run '.venv/bin/pip install -e .'"
        return Finding("versions", False, f"{about}; {', '.join(faults)}: {repair}")
    own = metadata.version("bargein")
    return Finding("versions", True, f"Bargein {own}, {about}, {count} packages as required")


def fits(version: str, bounds: str) -> bool:
    """Return whether a version is within bounds such as ``>=1.2,<2``."""
    have = _numbers(version)
    return all(
        have >= _numbers(limit) if sign == ">=" else have < _numbers(limit)
        for sign, limit in _BOUND.findall(bounds)
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[a-z+]", version)[0])))


def _bus(settings: config.Config) -> Finding:
    directory = config.bus_directory(settings)
    try:
        notes = preflight.check_directory(settings)
    except BusError as error:
        return Finding("bus", False, str(error))
    if notes:
        return Finding("bus", False, "; ".join(notes))
    free = shutil.disk_usage(directory).free
    text = f"{directory}, mode 0700, {free / 1e6:.0f} MB free"
    if free < LEAST_FREE:
        return Finding("bus", False, f"{text}: make room there, or set bus.directory")
    return Finding("bus", True, text)


def _exposed(path: Path) -> str:
    """Return why a file with a secret is not safe, and the repair; "" if it is or is not there."""
    try:
        found = path.stat()
        if endpoint.KEY_VARIABLE.encode() not in private.read_file(path):
            return ""
    except OSError:
        return ""
    who = private.exposed(found)
    return f"{os.fspath(path)}: {who}: run chmod 600 {path}" if who else ""
