"""Three faults of the chaos benchmark: the conversation goes on, and every account balances."""

from __future__ import annotations

import pytest

from harness import chaos
from harness.pulse import SoundServer

pytestmark = pytest.mark.sound

FAULTS = (
    ("kill playback", "speaking"),
    ("sound server restarted", "speaking"),
    ("stop downlink", "interrupted"),
)
#: The seed decides at which position of a reply a fault happens.
SEED = 5


def test_the_conversation_goes_on_after_each_fault_and_the_accounts_balance() -> None:
    if reason := SoundServer.unavailable():
        pytest.skip(reason)
    faults, lines = chaos.run(len(FAULTS), SEED, sound=True, plan=FAULTS)
    wrong = [f"{f.kind}, {f.phase}: {line}" for f in faults for line in f.wrong]
    assert not wrong, lines
    assert [(f.kind, f.phase) for f in faults if f.answer_s is not None] == list(FAULTS)
