"""The results of a case: what was heard, compared with who spoke; and the tables of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.acoustics import judging, scores, table, trial
from harness.acoustics.cases import Case, cases
from harness.acoustics.rendering import Rendered
from harness.driving import BEGIN_NS, GRACE, Detections
from shared import messages
from shared.audio import pcm

pytestmark = pytest.mark.unit

SAID = (10 * pcm.RATE, 12 * pcm.RATE)


@pytest.fixture(autouse=True)
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the scores: their packages are an extra."""
    monkeypatch.setattr(scores, "intelligibility", lambda *_: 0.5)
    monkeypatch.setattr(scores, "aecmos", lambda: None)


def judged(
    onsets: list[int], turns: list[int], *, raw: tuple[float, ...] = (), case: Case | None = None
) -> judging.Result:
    """Return the results of a case of 20 s in which the person speaks once, from 10 s on."""
    case = case or Case("a row", "a case", seconds=20, starts=(10.0,))
    noise = np.random.default_rng(1).standard_normal(20 * pcm.RATE)
    echo = noise * 0.1
    echo[: 5 * pcm.RATE] *= 1e-4
    silent = np.zeros(len(noise))
    clean = echo / 100
    clean[SAID[0] : SAID[1]] = 1
    rendered = Rendered(case, silent, echo, silent, silent, echo, [SAID], 0.4, -10)
    known = [(at, BEGIN_NS + pcm.samples_to_ns(at)) for at in onsets]
    output = judging.Output(clean, Detections(known, turns), turns)
    output.raw = [round(at * pcm.RATE) for at in raw]
    output.spent = 2.0
    return judging.judged(rendered, output)


def test_a_person_who_is_heard_while_speaking_is_found() -> None:
    found = judged([SAID[0] + 2400], [SAID[0] + 4800])
    assert found.local == [pytest.approx(100, abs=0.1)]
    assert (found.server, found.client) == ([True], 1)
    assert (found.false_onsets, found.self_interruptions, found.client_false) == (0, 0, 0)
    assert found.removed_db == pytest.approx(40, abs=0.5)
    assert found.cpu == pytest.approx(10)


@pytest.mark.parametrize("at", [0, 5 * pcm.RATE, SAID[0] - 1, SAID[1] + GRACE + 1])
def test_a_detection_while_nobody_speaks_is_a_self_interruption(at: int) -> None:
    found = judged([at], [at])
    assert (found.local, found.server, found.client) == ([None], [False], 0)
    assert (found.false_onsets, found.self_interruptions, found.client_false) == (1, 1, 1)


def test_only_a_frame_with_an_audible_echo_is_passed_raw() -> None:
    assert judged([], [], raw=(1.0, 2.0)).raw_s == 0
    assert judged([], [], raw=(1.0, 6.0, 7.0)).raw_s == pytest.approx(0.04)


def test_the_persons_frames_that_were_passed_unchanged_are_counted() -> None:
    sentence = tuple(np.arange(10, 12, 0.02))
    assert judged([], [], raw=sentence).unchanged == pytest.approx(1)
    assert judged([], [], raw=(5.0, *sentence[::2])).unchanged == pytest.approx(0.5)


def test_without_a_canceller_the_detectors_get_the_microphone() -> None:
    straight = trial.Straight()
    frame = messages.MicFrame(stream=1, position=480, captured_ns=7, overflows=0, payload=b"ab")
    straight.microphone(frame)
    [(aligned, clean)] = straight.take(0)
    assert (clean.payload, clean.position, clean.captured_ns) == (b"ab", 480, 7)
    assert aligned.frame is frame
    assert not list(straight.take(0))


@pytest.mark.parametrize(("off_until_s", "learnt_s"), [(0.0, 0.0), (8.0, 7.0), (20.0, None)])
def test_a_drift_is_learnt_when_the_step_stays_right(
    off_until_s: float, learnt_s: float | None
) -> None:
    case = Case("drift", "a case", drift_ppm=200, reply_s=1.0, seconds=20)
    right = 1 / (1 - 200e-6)
    times = np.arange(0, 20, 0.1)
    # A rate that is right by chance in between does not count.
    steps = [
        (round(at * pcm.RATE), right + (40e-6 if at <= off_until_s and at != 4 else 10e-6))
        for at in times
        if at or off_until_s
    ]
    found = judging.learnt_s(case, steps)
    assert found == (None if learnt_s is None else pytest.approx(learnt_s, abs=0.11))


def a_trial(case: Case, ours: judging.Result, theirs: judging.Result) -> trial.Trial:
    results = {trial.BARGEIN: ours, trial.HALF: ours, trial.WEBRTC: theirs, trial.IDEAL: theirs}
    return trial.Trial(case, results, 3.0, 1.0, 0.4, -10.0)


def test_each_figure_has_its_cases_also_in_the_quick_run() -> None:
    found = judged([SAID[0] + 2400], [SAID[0] + 4800])
    for quick in (False, True):
        trials = [a_trial(case, found, found) for case in cases(0, quick=quick)]
        lines = table.named(trials)
        assert len(lines) == len(table.FIGURES)
        assert {line[0] for line in table.rows(trials)} == {t.case.row for t in trials}
        assert len(table.each(trials)) == len(trials)


def test_a_figure_is_met_or_not() -> None:
    case = next(case for case in cases(0) if case.row == "laptop" and "-5" in case.name)
    heard, deaf = judged([SAID[0] + 2400], [SAID[0] + 4800]), judged([5 * pcm.RATE], [0])
    good = {line[1]: line[3:6] for line in table.named([a_trial(case, heard, deaf)])}
    bad = {line[1]: line[3:6] for line in table.named([a_trial(case, deaf, heard)])}
    assert good["self-interruptions"] == ("yes", "0", "1")
    assert bad["self-interruptions"] == ("no", "1", "0")
    assert good["detected, 0 to -10 dB"] == ("yes", "100%", "0%")
    assert bad["detected, 0 to -10 dB"] == ("no", "0%", "100%")
    assert "| laptop " in table.text(table.NAMED_HEAD, table.named([a_trial(case, heard, deaf)]))


def test_the_table_says_never_for_a_drift_that_is_not_learnt() -> None:
    case = next(case for case in cases(0) if "+200" in case.name)
    found = judged([], [])
    never = replace(a_trial(case, found, found), learnt_s=None)
    [(_, _, _, met, ours, theirs, _)] = table.named([never])
    assert (met, ours, theirs) == ("no", "never", "–")
    [(_, _, _, met, ours, *_)] = table.named([replace(never, learnt_s=3.2)])
    assert (met, ours) == ("yes", "3 s")


def test_a_late_voice_is_known_to_be_late() -> None:
    voice = np.random.default_rng(1).standard_normal(5000)
    late = np.concatenate((np.zeros(230), voice))[: len(voice)]
    assert scores.lateness(voice, late) == 230
    assert scores.lateness(voice, np.zeros(len(voice))) == 0
