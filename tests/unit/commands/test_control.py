"""``bargein control``: its help says what each command and each argument is."""

from __future__ import annotations

import argparse

import pytest

from commands import control
from shared import config

pytestmark = pytest.mark.unit


def test_each_command_and_each_argument_has_a_help_text() -> None:
    common = argparse.ArgumentParser(add_help=False)
    config.add_arguments(common)
    everywhere = {action.dest for action in common._actions} | {"help"}
    [group] = [
        action
        for action in control._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    for name, parser in group.choices.items():
        assert parser.description, name
        for action in parser._actions:
            assert action.dest in everywhere or action.help, f"{name} {action.dest}"
