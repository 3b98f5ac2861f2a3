"""The log of a conversation as a file, which does not grow for ever."""

from __future__ import annotations

import logging
import logging.handlers
import os
from io import TextIOWrapper
from pathlib import Path

from shared.private import open_regular

#: The file's name in the bus directory.
NAME = "bargein.log"
#: The largest file, bytes, and how many older ones are kept: the log of a month without debug.
LARGEST, OLDER = 4_000_000, 2


class LogFile(logging.handlers.RotatingFileHandler):
    """The file of this conversation. The last conversation's is kept beside it."""

    def __init__(self, path: Path) -> None:
        #: Why the last line could not be written; "": it was.
        self.trouble = ""
        super().__init__(path, maxBytes=LARGEST, backupCount=OLDER, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        if path.exists() and path.stat().st_size:
            self.doRollover()

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.fdopen(open_regular(Path(self.baseFilename), flags), "a", encoding="utf-8")

    def line(self, text: str) -> None:
        """Write a line, with the time."""
        self.trouble = ""
        self.handle(logging.makeLogRecord({"msg": text}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - of logging
        """Note why a line could not be written: the file system may be full."""
        import sys  # noqa: PLC0415

        self.trouble = str(sys.exc_info()[1])
