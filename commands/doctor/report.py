"""The text for a bug report, without anything private or secret. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from commands.doctor.findings import Finding, line
from shared.config import Config, masked_text
from shared.loopback import is_loopback
from shared.printable import printable

MASK = "****"
#: Settings whose text is shown although it is free text: they name a public thing.
SHOWN = frozenset(
    {"link.model", "session.voice", "session.language", "session.transcription_model"}
)
#: The ends of the names of servers that many people use.
PUBLIC = (
    ".openai.azure.com",
    ".openai.com",
    ".azure.com",
    ".azure.us",
    ".azure.cn",
    ".azure-api.net",
)
_IPV4 = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_IPV6 = re.compile(r"\[?\b[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}\]?")
_HOME = re.compile(r"(/home|/Users|/root)(/[^/\s:'\"]+)?")
#: A device that is named after its owner: "Ann's AirPods".
_OWNER = re.compile(r"[A-Z]\w*(['’]s )")


class Redactor:
    """Replaces the private and the secret parts of a text by ``****``.

    ``secrets``: texts that must not appear: the key, the names of the user and of the machine, and
    the names of servers that are not public.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one may contain another.
        self._secrets = sorted((s for s in set(secrets) if len(s) > 2), key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text without its private parts."""
        for secret in self._secrets:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", MASK, text)
        text = masked_text(text)
        text = _HOME.sub(lambda found: f"{found[1]}/{MASK}" if found[2] else MASK, text)
        text = _OWNER.sub(rf"{MASK}\1", text)
        text = re.sub(r"bargein-\d+", f"bargein-{MASK}", text)
        return _IPV6.sub(_masked_address, _IPV4.sub(_masked_address, text))


def _masked_address(found: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(found[0].strip("[]"))
    except ValueError:
        return found[0]
    return found[0] if address.is_loopback or address.is_unspecified else MASK


def private_hosts(urls: Iterable[str]) -> list[str]:
    """Return the names of servers in URLs, or their private parts: Azure's name of a resource."""
    found = []
    for url in urls:
        try:
            host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
        except ValueError:
            continue
        end = next((end for end in PUBLIC if host.endswith(end)), "")
        if host and not is_loopback(f"//{host}") and host != "api.openai.com":
            found.append(host.removesuffix(end))
    return found


def settings(config: Config, sources: Mapping[str, str]) -> list[str]:
    """Return a line for each setting that is not the default. Free text is not shown."""
    lines = []
    for key, source in sources.items():
        if source == "default":
            continue
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value != _default(key):
            lines.append(f"{key} = {_shown(key, value)}  # {source}")
    return lines


def _default(key: str) -> Any:
    value: Any = Config()
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _shown(key: str, value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and (key in SHOWN or re.fullmatch(r"[a-z_]{0,16}", value)):
        return f'"{value}"'
    if isinstance(value, str) and key.endswith(".device"):
        return f'"{value.partition(":")[0]}:{MASK}"'
    return f"{MASK} (set)"


def report(
    findings: Sequence[Finding], sections: Mapping[str, Sequence[str]], redactor: Redactor
) -> str:
    """Return the text for a bug report: the findings, then the sections with their titles."""
    lines = ["bargein doctor", "", *map(line, findings)]
    for title, body in sections.items():
        lines += ["", f"{title}:", *(f"  {each}" for each in body or ["nothing"])]
    return "\n".join(printable(redactor.text(each)) for each in lines) + "\n"
