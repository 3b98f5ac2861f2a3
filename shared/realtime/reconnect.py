"""When to connect again, and when not to: close codes, HTTP refusals and growing delays. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

#: Close codes that another try cannot mend: a refused key (3000), a refused model or header (4000
#: and up), a policy (1008). All others may pass (1001 is also how a session's 60 minutes end).
REFUSED_FROM, POLICY = 3000, 1008
#: HTTP answers to the upgrade that may pass: too many requests, and the server's or a proxy's
#: trouble.
TRANSIENT_HTTP = frozenset({408, 425, 429})

#: What to do, by what a refusal's reason contains.
_ADVICE = (
    ("api_key", "check OPENAI_API_KEY (or link.key_file)"),
    ("model", "check link.model"),
    ("beta", "this server no longer speaks the beta protocol: check link.url"),
)


def close_is_final(code: int) -> bool:
    """Say whether a WebSocket close code means that trying again is of no use."""
    return code == POLICY or code >= REFUSED_FROM


def http_is_final(status: int) -> bool:
    """Say whether an HTTP answer to the upgrade means that trying again is of no use."""
    return status < 500 and status not in TRANSIENT_HTTP


def advice(reason: str, status: int = 0) -> str:
    """Say what a person can do about a refusal."""
    if status in (401, 403):
        return "check OPENAI_API_KEY (or link.key_file), and that it may use link.model"
    return next(
        (text for part, text in _ADVICE if part in reason),
        "check link.url, link.model and the key",
    )


@dataclass
class Backoff:
    """Delays that double from ``first_ms`` to ``max_ms``, each shortened by chance by up to half.

    The chance keeps many clients of one server from coming back in step.
    """

    first_ms: int
    max_ms: int
    chance: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def next_ms(self) -> int:
        """Give how long to wait before the next try, ms."""
        full = min(self.max_ms, self.first_ms << min(self._tries, 30))
        self._tries += 1
        return int(full * (0.5 + self.chance.random() / 2))

    def worked(self) -> None:
        """Begin anew with the first delay."""
        self._tries = 0
