"""The address of the server and the credentials for it: the URL, the headers, the API key.

OpenAI and compatible servers expect the header ``Authorization: Bearer``. Azure OpenAI expects the
header ``api-key`` on its GA path,
``wss://<resource>.openai.azure.com/openai/v1/realtime?model=<deployment>``. Azure's clouds for the
US government and for China, and its API Management, expect it too.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit, urlunsplit

from shared import private
from shared.config import Link as Settings
from shared.loopback import is_loopback
from shared.redaction import Refusal

#: The environment variable that holds the API key, unless link.key_file is set.
KEY_VARIABLE = "OPENAI_API_KEY"
#: The ends of the names of the hosts that expect the header ``api-key``.
AZURE = (".azure.com", ".azure.us", ".azure.cn", ".azure-api.net")
#: Quotation marks, also those that a word processor writes.
_QUOTES = "\"'`“”„‘’«»"
#: Other marks that are copied along with a key: ``<sk-…>``, ``sk-…;``. No key begins or ends so.
_WRAPPING = "<>()[]{};,"
#: A key with the name of its variable in front. A key may end with "=", but has none in its midst.
_NAMED = re.compile(r"(?:export\s+)?[A-Za-z_]\w*\s*=\s*[^=\s]")


class KeyProblem(Refusal):
    """Raised when there is no usable API key. The text says what to do."""


def read_key(settings: Settings) -> str:
    """Return the API key, or "" if there is none and the server needs none.

    Raises KeyProblem if the key is missing, cannot be read, or contains unusable characters.
    """
    if settings.token_command:
        return ""  # link runs the command whenever it connects
    if settings.key_file:
        path = Path(settings.key_file).expanduser()
        source = f"link.key_file{private.name_of(path)}"
        try:
            key = private.read_secret(path)[0].decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise KeyProblem(f"{source}: not plain text: put the API key alone in it") from None
        except (OSError, ValueError) as error:
            raise KeyProblem(f"{source}: {_why(error)}") from None
    else:
        key, source = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
    if not key and not is_loopback(settings.url) and settings.auth != "none":
        raise KeyProblem(
            "no API key: set OPENAI_API_KEY, or link.key_file to a file that holds it"
            " (without one, bin/demo runs the emulator)"
        )
    if key and (key[0] in _QUOTES or key[-1] in _QUOTES):
        raise KeyProblem(f"the API key in {source} is in quotes: remove the quotes")
    if key and (mark := next((m for m in (key[0], key[-1]) if m in _WRAPPING), "")):
        raise KeyProblem(f"the API key in {source} has {mark!r} around it: put the key alone in it")
    if _NAMED.match(key):
        raise KeyProblem(f"the API key in {source} has 'NAME=' in front: put the key alone in it")
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise KeyProblem(f"the API key in {source} has blanks or odd characters in it: set it anew")
    return key


def exposed(settings: Settings) -> str:
    """Return a warning if others can read or change the file that holds the API key, else ""."""
    if not settings.key_file:
        return ""
    path = Path(settings.key_file).expanduser()
    try:
        who = private.exposed(path.stat())
    except OSError:
        return ""
    return f"link.key_file {path}: {who}: run chmod 600 {path}" if who else ""


def _why(error: OSError | ValueError) -> str:
    why = getattr(error, "strerror", None) or "not a path"
    if isinstance(error, FileNotFoundError):
        return f"{why}: set it to the path of a file, and put the API key alone into that file"
    return f"{why}: put the API key alone in it"


def request(settings: Settings, key: str) -> tuple[str, list[str]]:
    """Return the URL to open, including the model, and the headers that carry the key.

    The URL is in ASCII, and has no user, no password and no fragment.
    """
    parts = _in_ascii(urlsplit(settings.url))
    query = parse_qs(parts.query, keep_blank_values=True)
    if settings.model and not {"model", "call_id", "deployment", "intent"} & set(query):
        query["model"] = [settings.model]
    url = urlunsplit(parts._replace(query=urlencode(query, doseq=True)))
    azure = (parts.hostname or "").endswith(AZURE)
    scheme = settings.auth
    if scheme == "auto":
        # A token of Entra is no key of Azure, so it goes into the other header.
        scheme = "api-key" if azure and not settings.token_command else "bearer"
    headers = [f"{name}: {value}" for name, value in owners(settings).items() if value]
    if not key or scheme == "none":
        return url, headers
    header = "api-key: " if scheme == "api-key" else "Authorization: Bearer "
    return url, [*headers, f"{header}{key}"]


def _in_ascii(parts: SplitResult) -> SplitResult:
    """Return a URL as it goes into a request: a browser writes it like that, too."""
    host = unquote(parts.hostname or "")  # a zone (fe80::1%eth0) may be written with %25
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        host = host.encode("idna").decode()
    return parts._replace(
        netloc=f"{host}:{parts.port}" if parts.port else host,
        path=quote(parts.path, safe="/%:@!$&'()*+,;=~"),
        fragment="",
    )


def owners(settings: Settings) -> dict[str, str]:
    """Return the headers that say whom the session belongs to, by name; "": it is not sent."""
    return {
        "OpenAI-Organization": settings.organization,
        "OpenAI-Project": settings.project,
        "OpenAI-Safety-Identifier": settings.safety_identifier,
    }


def where(url: str) -> str:
    """Return a URL's scheme, host and port, without the parts that can hold a secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"
