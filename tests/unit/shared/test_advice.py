"""The advice after a refusal."""

from __future__ import annotations

import pytest

from shared.realtime.advice import advice

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("reason", "status", "what"),
    [
        ("invalid_request_error.invalid_api_key", 0, "OPENAI_API_KEY"),
        ("invalid_request_error.invalid_model", 0, "check link.model"),
        ("invalid_request_error.missing_model", 0, "check link.model"),
        ("invalid_request_error.beta_api_shape_disabled", 0, "beta"),
        ("", 401, "OPENAI_API_KEY"),
        ("", 403, "link.model"),
        ("", 404, "link.url"),
        ("something new", 0, "link.url"),
    ],
)
def test_a_refusal_says_what_to_do(reason: str, status: int, what: str) -> None:
    assert what in advice(reason, status)
