"""The command line of every command and stage."""

from __future__ import annotations

import argparse
from typing import NoReturn

from shared.redaction import shown


class Parser(argparse.ArgumentParser):
    """A parser whose errors may quote what a person typed: they show no key."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and end the process."""
        super().error(shown(message))
