"""Faults on demand that are in what is sent, not in when it is: garbage, and the broken connection.

Those of time (late deltas, stalls, sizes) are part of ``responses``.
"""

from __future__ import annotations

import json
from typing import Any

from services.emulator.formats import BYTES_PER_S
from services.emulator.options import Faults

_UNKNOWN = {"type": "emulator.unknown_event", "event_id": "event_unknown", "value": {"a": [1, 2]}}

#: What response.done says of a failure; anything else is the server's own.
_FAILURES = {
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing.",
    "model_not_found": "The model does not exist or you do not have access to it.",
    "rate_limit_exceeded": "Rate limit reached.",
    "inference_rate_limit_exceeded": "Rate limit reached.",
}


class Sabotage:
    """What a session's faults add to its audio."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._littered: str | None = None
        self._sent_ms = 0.0

    def ahead_of(self, delta: dict[str, Any]) -> list[str | bytes]:
        """Give the garbage that goes ahead of an audio delta: the first one of each response."""
        if not self._faults.garbage or self._littered == delta["response_id"]:
            return []
        self._littered = delta["response_id"]
        kinds: dict[str, str | bytes] = {
            "json": '{"type": "response.output_audio.delta", "delta": "',
            "event": json.dumps(_UNKNOWN),
            "binary": b"\x00\xff\x00\xff",
            "base64": json.dumps({**delta, "event_id": "event_base64", "delta": "*no base64*"}),
            "fields": json.dumps({"type": delta["type"], "delta": None, "item_id": 7}),
        }
        return [kinds[kind] for kind in self._faults.garbage]

    def drops_after(self, delta: dict[str, Any], kind: str) -> bool:
        """Say whether the connection breaks after this audio delta in format ``kind``."""
        if self._faults.drop_after_ms is None:
            return False
        self._sent_ms += len(delta["delta"]) * 3 // 4 * 1000 / BYTES_PER_S[kind]
        return self._sent_ms >= self._faults.drop_after_ms


def failure(code: str) -> dict[str, str]:
    """Give the error of a response that fails with this code."""
    message = _FAILURES.get(code, "The server had an error while processing your request.")
    kind = "invalid_request_error" if code in _FAILURES else "server_error"
    return {"type": kind, "code": code, "message": message}
