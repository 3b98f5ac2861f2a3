"""Faults in the messages of a session: garbage, a broken connection, and failing responses.

Faults of timing (late deltas, stalls, sizes) are in ``responses`` and ``pacing``.
"""

from __future__ import annotations

import json
from typing import Any

from services.emulator.formats import BYTES_PER_S
from services.emulator.options import Faults

_UNKNOWN = {"type": "emulator.unknown_event", "event_id": "event_unknown", "value": {"a": [1, 2]}}

#: The messages of the error codes that a response can fail with. Any other code counts as an error
#: of the server.
_FAILURES = {
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing.",
    "model_not_found": "The model does not exist or you do not have access to it.",
    "rate_limit_exceeded": "Rate limit reached.",
    "inference_rate_limit_exceeded": "Rate limit reached.",
}


class Sabotage:
    """The faults that the audio of a session triggers: garbage and the broken connection."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        #: The last response that got garbage.
        self._response_id: str | None = None
        self._sent_ms = 0.0

    def before(self, delta: dict[str, Any]) -> list[str | bytes]:
        """Return the garbage to send before an audio delta, if it is the first of its response."""
        if not self._faults.garbage or self._response_id == delta["response_id"]:
            return []
        self._response_id = delta["response_id"]
        kinds: dict[str, str | bytes] = {
            "json": '{"type": "response.output_audio.delta", "delta": "',
            "event": json.dumps(_UNKNOWN),
            "binary": b"\x00\xff\x00\xff",
            "base64": json.dumps({**delta, "event_id": "event_base64", "delta": "*no base64*"}),
            "fields": json.dumps({"type": delta["type"], "delta": None, "item_id": 7}),
        }
        return [kinds[kind] for kind in self._faults.garbage]

    def drops_after(self, delta: dict[str, Any], kind: str) -> bool:
        """Return whether the connection breaks after this audio delta, in format ``kind``."""
        if self._faults.drop_after_ms is None:
            return False
        # Four characters of base64 are three bytes.
        self._sent_ms += len(delta["delta"]) * 3 // 4 * 1000 / BYTES_PER_S[kind]
        return self._sent_ms >= self._faults.drop_after_ms


def failure(code: str) -> dict[str, str]:
    """Return the error of a response that fails with this code."""
    message = _FAILURES.get(code, "The server had an error while processing your request.")
    kind = "invalid_request_error" if code in _FAILURES else "server_error"
    return {"type": kind, "code": code, "message": message}
