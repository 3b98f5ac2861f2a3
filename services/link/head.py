"""The head of an HTTP answer. Pure."""

from __future__ import annotations

import re


def parse(head: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return the status of an answer, its headers by their names in lower case, and a plain head.

    The status is 0 if the head is no HTTP. The plain head has one line for each header, in UTF-8.
    """
    # A line that begins with a blank goes on with the header of the line before (RFC 9112, 5.2).
    text = re.sub(r"\r?\n[ \t]+", " ", head.decode("latin-1").strip())
    first, *lines = re.split(r"\r?\n", text)
    status = re.match(r"HTTP/\S+ +(\d{3})(?!\d)", first, re.ASCII | re.IGNORECASE)
    named = [(name.strip(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]
    named = [(name, value) for name, value in named if name]
    plain = "".join(f"{name}: {value}\r\n" for name, value in named)
    return (
        int(status[1]) if status else 0,
        {name.lower(): value for name, value in named},
        f"{first}\r\n{plain}\r\n".encode(),
    )
