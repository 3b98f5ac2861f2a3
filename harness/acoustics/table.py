"""The tables of the independent rooms: the named figures with their aims, and all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.acoustics.judging import Result
from harness.acoustics.trial import BARGEIN, HALF, IDEAL, SYSTEMS, WEBRTC, Trial

#: The printed text of a figure, and whether the figure is as wanted (None: nothing is demanded).
Figure = tuple[str, bool | None]


#: The share that counts as all: a sentence does not begin and end with a frame.
_ALL = 0.99


@dataclass(frozen=True)
class Wanted:
    """A figure of a row, and its aim."""

    row: str
    text: str  # of the figure
    wanted: str
    figure: Callable[[Sequence[Trial], str], Figure]
    only: str = ""  # only cases whose names contain one of these, separated by "|"


def _results(trials: Sequence[Trial], system: str) -> list[Result]:
    return [trial.results[system] for trial in trials]


def share(trials: Sequence[Trial], system: str, *, local: bool) -> float:
    """Return the share of talk-overs that were detected, by vad or by the server."""
    found = [
        one is not None if local else bool(one)
        for result in _results(trials, system)
        for one in (result.local if local else result.server)
    ]
    return float(np.mean(found)) if found else float("nan")


def _locally(least: float, median_ms: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        times = [ms for r in _results(trials, system) for ms in r.local if ms is not None]
        found = share(trials, system, local=True)
        median = float(np.median(times)) if times else float("inf")
        met = found >= least and median <= median_ms
        return f"{found:.0%}" + (f", {median:.0f} ms" if times else ""), met

    return figure


def _never_raw(least_db: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        if system == IDEAL:
            return "–", None
        results = _results(trials, system)
        raw = [r.raw_s for r in results if r.raw_s > 0]
        removed = min(r.removed_db for r in results)
        text = f"{len(raw)} of {len(results)}"
        text += f", up to {max(raw):.1f} s" if raw else ""
        return f"{text}; {removed:.0f} dB", not raw and removed >= least_db

    return figure


def _lost(most: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        lost = 1 - share(trials, system, local=False)
        return f"{lost:.1%}", lost < most

    return figure


def _detected(least: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        found = share(trials, system, local=False)
        return f"{found:.0%}", found >= least

    return figure


def _both(least: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        server, local = (share(trials, system, local=each) for each in (False, True))
        return f"{server:.0%}; {local:.0%}", min(server, local) >= least

    return figure


def _as_webrtc(trials: Sequence[Trial], system: str) -> Figure:
    found, theirs = (share(trials, each, local=False) for each in (system, WEBRTC))
    return f"{found:.0%}", found >= theirs


def _itself(trials: Sequence[Trial], system: str) -> Figure:
    count = sum(r.self_interruptions for r in _results(trials, system))
    return f"{count}", count == 0


def _itself_and_heard(least: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        count, met = _itself(trials, system)
        found = share(trials, system, local=False)
        return f"{count}; {found:.0%}", bool(met) and found >= least

    return figure


def _unchanged(trials: Sequence[Trial], system: str) -> Figure:
    least = min(r.unchanged for r in _results(trials, system))
    return f"{least:.0%}", least >= _ALL


def _quiet(trials: Sequence[Trial], system: str) -> Figure:
    results = _results(trials, system)
    turns = sum(r.self_interruptions for r in results)
    onsets = sum(r.false_onsets for r in results)
    return f"{turns}; {onsets}", turns == onsets == 0


def _learnt(most_s: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        if system != BARGEIN:
            return "–", None
        times = [trial.learnt_s for trial in trials]
        text = ", ".join("never" if s is None else f"{s:.0f} s" for s in times)
        return text, all(s is not None and s < most_s for s in times)

    return figure


def _estoi(least: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        scores = [r.estoi for r in _results(trials, system) if r.estoi is not None]
        mean = float(np.mean(scores)) if scores else float("nan")
        return f"{mean:.2f}", mean >= least

    return figure


def _aecmos(echo: float, degradation: float) -> Callable[[Sequence[Trial], str], Figure]:
    def figure(trials: Sequence[Trial], system: str) -> Figure:
        rated = [
            (r.echo_mos, r.degradation_mos)
            for r in _results(trials, system)
            if r.echo_mos is not None and r.degradation_mos is not None
        ]
        if not rated:
            return "–", None
        ours = np.mean(rated, axis=0)
        return f"{ours[0]:.2f}; {ours[1]:.2f}", bool(ours[0] >= echo and ours[1] >= degradation)

    return figure


FIGURES = (
    Wanted(
        "first words", "detected locally; median", "≥ 90 %, ≤ 200 ms", _locally(0.9, 200),
        "0.3 s|0.7 s|1.2 s",
    ),
    Wanted("first words", "all times, 0.3 to 2 s", "≥ 90 %, ≤ 200 ms", _locally(0.9, 200)),
    Wanted("loud echo", "passed raw; least removed", "never; ≥ 25 dB", _never_raw(25)),
    Wanted("late echo", "passed raw; least removed", "never; ≥ 25 dB", _never_raw(25)),
    Wanted("person as loud", "sentences lost", "< 1 %", _lost(0.01)),
    Wanted("person as loud", "self-interruptions", "0", _itself),
    Wanted("person as loud", "ESTOI in double talk", "≥ 0.93", _estoi(0.93)),
    Wanted("person as loud", "AECMOS: echo; degradation", "≥ 4.3; ≥ 2.7", _aecmos(4.3, 2.7)),
    Wanted("far end with pauses", "detected: server; local", "≥ 95 %", _both(0.95)),
    Wanted("leak", "turns; onsets by nobody", "0; 0", _quiet),
    Wanted("drift", "learnt after", "< 5 s", _learnt(5), "+100|-100|+200|-300"),
    Wanted("drift", "500 ppm: learnt after", "< 5 s", _learnt(5), "500"),
    Wanted("clipping microphone", "detected", "≥ WebRTC", _as_webrtc),
    Wanted("laptop", "self-interruptions", "0", _itself),
    Wanted("laptop", "detected, 0 to -10 dB", "≥ 85 %", _detected(0.85), "+0|-5|-10"),
    Wanted("long reverberation", "detected", "≥ 80 %", _detected(0.8)),
    Wanted("quiet far end", "turns; onsets by nobody", "0; 0", _quiet),
    *(
        Wanted(row, "self-interruptions; detected", "0; ≥ 95 %", _itself_and_heard(0.95))
        for row in (
            "moving person", "questions and answers", "volume steps", "slow gain control",
            "loudness leveller", "mains hum", "delay jumps",
        )
    ),
    Wanted("headphones", "person passed unchanged", "100 %", _unchanged),
)  # fmt: skip


def named(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Return the named figures, line by line: row, figure, wanted, met, and each system's."""
    lines: list[tuple[str, ...]] = []
    for wanted in FIGURES:
        chosen = [
            trial
            for trial in trials
            if trial.case.row == wanted.row
            and any(text in trial.case.name for text in wanted.only.split("|"))
        ]
        if not chosen:
            continue
        figures = [wanted.figure(chosen, name) for name in (BARGEIN, WEBRTC, IDEAL)]
        met = figures[0][1]
        said = "" if met is None else "yes" if met else "no"
        lines.append((wanted.row, wanted.text, wanted.wanted, said, *(text for text, _ in figures)))
    return lines


def rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Return for each row how often the assistant interrupted itself, and what was detected."""
    lines: list[tuple[str, ...]] = []
    for row in dict.fromkeys(trial.case.row for trial in trials):
        chosen = [trial for trial in trials if trial.case.row == row]
        ours = _results(chosen, BARGEIN)
        talk_overs = sum(r.talk_overs for r in ours)
        itself = [sum(r.self_interruptions for r in _results(chosen, name)) for name in SYSTEMS]
        itself.insert(1, sum(r.client_false for r in ours))
        found = [f"{sum(sum(r.server) for r in _results(chosen, name))}" for name in SYSTEMS]
        found.insert(1, f"{sum(r.client for r in ours)}")
        minutes = sum(trial.case.seconds for trial in chosen) / 60
        scores = [r.estoi for r in ours if r.estoi is not None]
        lines.append(
            (
                row,
                f"{minutes:.1f}",
                *(f"{count}" for count in itself),
                f"{talk_overs}",
                *found,
                f"{np.mean(scores):.2f}" if scores else "–",
            )
        )
    return lines


def each(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Return the figures of each case with Bargein, and beside them WebRTC's detections."""
    lines: list[tuple[str, ...]] = []
    for trial in trials:
        ours, theirs = trial.results[BARGEIN], trial.results[WEBRTC]
        times = [ms for ms in ours.local if ms is not None]
        lines.append(
            (
                trial.case.row,
                trial.case.name,
                f"{trial.reverb_s:.2f}",
                f"{trial.gain_db:+.0f}",
                f"{ours.self_interruptions}",
                f"{ours.false_onsets}",
                f"{sum(ours.server)}/{ours.talk_overs}",
                f"{len(times)}/{ours.talk_overs}",
                f"{np.median(times):.0f}" if times else "–",
                f"{ours.raw_s:.1f}",
                f"{ours.removed_db:.0f}",
                "–" if ours.estoi is None else f"{ours.estoi:.2f}",
                f"{theirs.self_interruptions}",
                f"{sum(theirs.server)}/{theirs.talk_overs}",
            )
        )
    return lines


NAMED_HEAD = ("row", "figure", "wanted", "met", BARGEIN, WEBRTC, IDEAL)
#: Self-interruptions, then talk-overs detected by the server's detector.
ROWS_HEAD = (
    "row", "min", "itself", "client", HALF, "WebRTC", "ideal",
    "talk-overs", "heard", "client", HALF, "WebRTC", "ideal", "ESTOI",
)  # fmt: skip
EACH_HEAD = (
    "row", "case", "RT60", "gain", "itself", "onsets", "server", "local", "ms", "raw s", "removed",
    "ESTOI", "WebRTC itself", "WebRTC server",
)  # fmt: skip


def text(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return lines as a table in Markdown, padded to read well in a terminal."""
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    out = [head, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in out
    )
