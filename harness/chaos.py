"""Random faults in a running conversation, and their effects: see benchmarks/chaos.py."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.balance import Fault, balance
from harness.pulse import SoundServer
from harness.soundbench import PipelineError
from harness.talk import TIMES, Talk

#: The length of the shortest question, s.
QUESTION_S = 1.1
PHASES = ("idle", "speaking", "interrupted")


def run(
    count: int,
    seed: int,
    *,
    sound: bool,
    only: Sequence[str] = (),
    plan: Sequence[tuple[str, str]] = (),
    say: Callable[[Fault], None] = lambda _: None,
) -> tuple[list[Fault], list[str]]:
    """Cause ``count`` faults. Return the faults, and lines about the accounts.

    ``plan`` names the faults and their moments. Without it, chance selects them.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bargein-chaos-")))
        server = stack.enter_context(SoundServer()) if sound else None
        talk = Talk(stack, server, directory)
        usual = [_asked(talk, None) for _ in range(1 if plan else 2)]
        item_id, usual_s = usual[-1][0], min(s for _, s in usual) if sound else 0.0
        happens = talk.faults()
        names = [n for n in happens if not only or any(word in n for word in only)]
        beliefs: dict[str, int] = {}
        plan = plan or [(kind, chance.choice(PHASES)) for kind in _order(names, count, chance)]
        for number, (kind, phase) in enumerate(plan, 1):
            fault = Fault(number, kind, phase, time.monotonic())
            faults.append(fault)
            try:
                # The server has not yet been told about the reply that plays or was just cut.
                beliefs |= {k: v for k, v in talk.believed().items() if k != item_id}
                _wait_for(talk, fault.phase, item_id, chance.uniform(0.2, 1.2))
                fault.at_s = time.monotonic()
                happens[kind]()
                fault.over_s = time.monotonic()
                item_id, answer_s = _asked(talk, fault)
                talk.wait_until_reported()
                fault.answer_s = answer_s - usual_s
            except PipelineError as error:
                fault.wrong.append(str(error)[:2000])
            ended = [s for s in talk.run.stages if not talk.run.runs(s)]
            fault.wrong += [f"{s} has ended: {talk.run.log(s)[-600:]}" for s in ended]
            say(fault)
            if fault.wrong:
                break
        try:
            _wait_for(talk, "idle", item_id, 0)
            over = talk.known()
            talk.wait_until_told()
            beliefs |= {k: v for k, v in talk.believed().items() if k in over}
        except PipelineError as error:
            faults[-1].wrong.append(str(error)[:2000])
        return faults, balance(talk, faults, beliefs)


def _order(names: Sequence[str], count: int, chance: random.Random) -> Iterable[str]:
    """Yield faults in random order, each as often as the others."""
    left: list[str] = []
    for _ in range(count):
        if not left:
            left = chance.sample(names, len(names))
        yield left.pop()


def _wait_for(talk: Talk, phase: str, item_id: str, seconds: float) -> None:
    """Return when the conversation is in a phase."""
    if phase == "idle":
        talk.wait_until_silent()
    else:
        talk.wait_until_heard(item_id, seconds)
    if phase == "interrupted":
        talk.interrupt()


def _asked(talk: Talk, fault: Fault | None) -> tuple[str, float]:
    """Ask until there is an answer; return its item and the time of the first question, s."""
    known = talk.known()
    begun = time.monotonic()
    for _ in range(TIMES):
        talk.ask()
        asked = time.monotonic()
        try:
            item = talk.answer(known)
            while talk.asks and time.monotonic() - asked < QUESTION_S:
                # It answers an earlier question.
                known.add(item.item_id)
                item = talk.answer(known)
        except PipelineError:
            if fault is not None:
                fault.repeats += 1
            continue
        return item.item_id, time.monotonic() - begun
    raise PipelineError(f"no answer to {TIMES} questions")
