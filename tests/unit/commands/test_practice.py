"""The address of the emulator that a demo starts."""

from __future__ import annotations

import errno
import socket

import pytest

from commands import practice

pytestmark = pytest.mark.unit


def test_the_address_is_one_that_can_be_used_now() -> None:
    host, _, port = practice.free_address().rpartition(":")
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((host.strip("[]"), int(port)))


def test_a_machine_without_ipv4_has_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def ipv6_only(family: socket.AddressFamily, host: str) -> int:
        if family is socket.AF_INET:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        assert (family, host) == (socket.AF_INET6, "::1")
        return 8791

    monkeypatch.setattr(practice, "_free_port", ipv6_only)
    assert practice.free_address() == "[::1]:8791"
