"""Advice for a person whom a server refuses. Pure."""

from __future__ import annotations

#: The advice about a refusal, by a part of the server's reason.
_ADVICE = (
    ("api_key", "check OPENAI_API_KEY (or link.key_file)"),
    ("quota", "check the plan and the billing of the key's account"),
    ("model", "check link.model"),
    ("beta", "this server no longer speaks the beta protocol: check link.url"),
)
#: The advice where something answers in the server's place: a network that wants a login, as in a
#: hotel or a train.
PORTAL = "if this network wants a login, log in with a browser"

#: The advice where a proxy reads TLS, with a certificate of the company's own.
INSPECTED = "if a proxy inspects TLS, set SSL_CERT_FILE to a file with its certificate"
#: The advice where nobody answers.
AWAY = "check the network, link.url and, if there is one, the proxy"


def advice(
    reason: str, status: int = 0, default: str = "check link.url, link.model and the key"
) -> str:
    """Return what a person can do about a refusal."""
    if status in (401, 403):
        found = (
            "check OPENAI_API_KEY (or link.key_file), that it may use link.model, and link.auth"
            " (the header that carries the key)"
        )
        return f"{found}; {PORTAL}" if status == 403 else found
    if status == 407:
        return "a proxy wants a login: name the proxy in link.proxy, with its user and password"
    found = next((text for part, text in _ADVICE if part in reason), default)
    return f"{found}; {PORTAL}" if status in (200, 404) else found
