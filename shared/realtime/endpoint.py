"""Where the server is and how to be let in: the URL, the headers, the key.

OpenAI and any compatible server take ``Authorization: Bearer``; Azure OpenAI takes ``api-key`` on
its GA path, ``wss://<resource>.openai.azure.com/openai/v1/realtime?model=<deployment>``.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from shared.config import Link as Settings
from shared.config import is_loopback

KEY_VARIABLE = "OPENAI_API_KEY"


class KeyProblem(Exception):
    """Raised when there is no key to use; its text says what to do."""


def read_key(settings: Settings) -> str:
    """Give the API key, or "" where none is needed. Raises KeyProblem, with what to do."""
    if settings.key_file:
        path = Path(settings.key_file).expanduser()
        try:
            key = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not plain text"
            raise KeyProblem(f"link.key_file {path}: {why}: put the API key alone in it") from None
        source = f"link.key_file {path}"
    else:
        key, source = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
    if not key and not is_loopback(settings.url) and settings.auth != "none":
        raise KeyProblem(
            "no API key: set OPENAI_API_KEY, or link.key_file to a file that holds it"
            " (without one, bin/demo runs the emulator)"
        )
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise KeyProblem(f"the API key in {source} has blanks or odd characters in it: set it anew")
    return key


def request(settings: Settings, key: str) -> tuple[str, list[str]]:
    """Give the URL to open, model included, and the headers with the key."""
    parts = urlsplit(settings.url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if settings.model and not {"model", "call_id", "deployment", "intent"} & set(query):
        query["model"] = [settings.model]
    url = urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
    azure = (parts.hostname or "").endswith(".azure.com")
    scheme = settings.auth
    if scheme == "auto":
        scheme = "api-key" if azure else "bearer"
    if not key or scheme == "none":
        return url, []
    return url, [f"api-key: {key}" if scheme == "api-key" else f"Authorization: Bearer {key}"]


def where(url: str) -> str:
    """Give a URL's scheme, host and port: what may be shown of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
