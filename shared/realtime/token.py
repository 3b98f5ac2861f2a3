"""A token that a command prints, for services whose tokens expire.

The command runs on a thread of its own, because it can take seconds. The token is replaced at most
5 minutes before it expires. The command's standard output is never shown, because it holds the
token.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import threading
import time

from shared.config import Link as Settings
from shared.redaction import Refusal

#: The share of the time to connect that the command may take: it has to be done before that time
#: is over.
COMMAND_SHARE = 0.8
#: A token is replaced this long before it expires, s.
EARLY_S = 300.0
#: How long a token is kept whose end is not known, s.
UNKNOWN_S = 300.0
#: The names of the token and of its end (s since 1970) in a command's output in JSON.
NAMES = ("accessToken", "access_token", "token")
ENDS = ("expires_on", "expires_at")


class TokenProblem(Refusal):
    """Raised when the command gives no usable token. The text says what to do."""


class Token:
    """The token of a command. ``timeout_s``: how long the command may take."""

    def __init__(self, command: str, timeout_s: float) -> None:
        self._command = shlex.split(command)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._token = ""
        self._until_s = 0.0  # s since 1970: until then the token is kept
        self._refreshing: threading.Thread | None = None

    def get(self) -> str:
        """Return a token that does not expire soon. Blocks; raises TokenProblem."""
        with self._lock:
            if not self._token or time.time() >= self._until_s:
                self._token, self._until_s = read(self._run(), time.time())
            return self._token

    def forget(self) -> None:
        """Drop the token: the server has refused it."""
        self._until_s = 0.0

    def look_after(self) -> None:
        """Replace a token that expires soon, on a thread. Never blocks, and raises nothing."""
        busy = self._refreshing is not None and self._refreshing.is_alive()
        if self._token and time.time() >= self._until_s and not busy:
            self._refreshing = threading.Thread(target=self._refresh, name="token", daemon=True)
            self._refreshing.start()

    def _refresh(self) -> None:
        try:
            self.get()
        except TokenProblem:
            # The next attempt to connect reports the problem. Until then, try once a minute.
            self._until_s = time.time() + 60

    def _run(self) -> str:
        try:
            done = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            why = f"link.token_command took more than {self._timeout_s:g} s"
            raise TokenProblem(f"{why}: run it in a terminal") from None
        except OSError as error:
            raise TokenProblem(
                f"link.token_command: {self._command[0]}: {error.strerror}"
            ) from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = f": {said[-1][:200]}" if said else ""
            raise TokenProblem(f"link.token_command ended with code {done.returncode}{why}")
        return done.stdout.decode("utf-8", "replace").strip()


def of(settings: Settings) -> Token | None:
    """Return the token of link.token_command; None if there is no such command."""
    within_s = settings.connect_timeout_s * COMMAND_SHARE
    return Token(settings.token_command, within_s) if settings.token_command else None


def read(printed: str, now_s: float) -> tuple[str, float]:
    """Return the token that a command printed, and until when to keep it (s since 1970).

    The command prints the token alone, or JSON with it. Raises TokenProblem.
    """
    token, ends_s = printed, 0.0
    if printed.startswith("{"):
        try:
            found = json.loads(printed)
            token = next(str(found[name]) for name in NAMES if found.get(name))
            ends_s = next((float(found[name]) for name in ENDS if found.get(name)), 0.0)
        except (ValueError, TypeError, StopIteration):
            raise TokenProblem(
                "link.token_command prints JSON without accessToken, access_token or token"
            ) from None
    if not token or not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise TokenProblem("link.token_command has to print a token and nothing else")
    ends_s = ends_s or _end_of_jwt(token)
    if not ends_s:
        return token, now_s + UNKNOWN_S
    # A token of a few minutes is kept for half of its life.
    return token, ends_s - min(EARLY_S, max(0.0, ends_s - now_s) / 2)


def _end_of_jwt(token: str) -> float:
    """Return when a JSON web token expires, s since 1970; 0: it is no such token."""
    parts = token.split(".")
    if len(parts) != 3:
        return 0.0
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError):
        return 0.0
