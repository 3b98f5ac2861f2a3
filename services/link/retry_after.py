"""How long a server asks to wait before the next attempt: the HTTP header Retry-After."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from shared import now

#: The longest Retry-After that is read, in digits: three years are enough.
RETRY_AFTER_DIGITS = 8


def retry_after_ms(headers: Mapping[str, str]) -> int:
    """Return how long an HTTP Retry-After header asks to wait, ms; 0 without one that is sound.

    The header has seconds, or a date. A date counts from the server's own ``Date``, because this
    machine's clock may be wrong, and from this machine's clock only if the server sent none.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return int(text) * 1000 if len(text) < RETRY_AFTER_DIGITS else 0
    until_s, from_s = _http_date(text), _http_date(headers.get("date", ""))
    left_s = until_s - (from_s or now.time_ns() / 1e9)
    return int(left_s * 1000) if until_s and 0 < left_s < 10**RETRY_AFTER_DIGITS else 0


def _http_date(text: str) -> float:
    """Return a date of HTTP (RFC 9110), in seconds since 1970; 0 if it is none."""
    try:
        # The forms without an offset are in UTC as well.
        return calendar.timegm(parsedate_to_datetime(text).utctimetuple())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
