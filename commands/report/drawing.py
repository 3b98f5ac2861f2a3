"""The pictures of the page, as SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from commands.report.facts import Facts

#: The size of the picture of the whole conversation, in its own units.
WIDTH, LANE = 1000, 60
#: The number of bars of a voice: more could not be told apart.
BARS = 500
#: The colours of the hops of an interruption are those of the classes hop0 … hop3.
HOPS = ("event to flush", "flush to playback", "playback to silence", "the device")


class Axis:
    """Places times on the width of a picture."""

    def __init__(self, begun_ns: int, ended_ns: int) -> None:
        self._begun_ns = begun_ns
        self._length_ns = max(1, ended_ns - begun_ns)

    def x(self, at_ns: int) -> float:
        """Return the place of a time."""
        share = (at_ns - self._begun_ns) / self._length_ns
        return round(min(1.0, max(0.0, share)) * WIDTH, 1)


def timeline(
    facts: Facts,
    levels: tuple[Sequence[float], Sequence[float]],
    sound_ns: int,
    *,
    redact: bool,
) -> str:
    """Return the picture of the whole conversation: both voices, and what happened.

    ``levels``: of the person and of the assistant, at equal distances; they begin at ``sound_ns``.
    """
    axis = Axis(facts.begun_ns, facts.ended_ns)
    parts = []
    lanes = (("person", "the person"), ("assistant", "the assistant"))
    for number, (css, name) in enumerate(lanes):
        middle = LANE * number + LANE / 2 + 12
        parts.append(voice(levels[number], axis.x(sound_ns) if sound_ns else 0, middle, css))
        parts.append(f'<text x="4" y="{LANE * number + 12}">{name}</text>')
    for begin, end in facts.speech:
        width = max(1.0, axis.x(end) - axis.x(begin))
        parts.append(
            f'<rect class="speech" x="{axis.x(begin)}" y="14" width="{width:.1f}" height="3"/>'
        )
    parts += [_mark(axis.x(at), "flush", "flush") for at in facts.flushes]
    parts += [
        _mark(axis.x(at), "call", "function call" if redact else f"function {name}")
        for at, name in facts.calls
    ]
    parts += [
        _mark(axis.x(at), "link", f"link is {words.split(':')[0] if redact else words}")
        for at, words in facts.links
    ]
    height = 2 * LANE + 26
    seconds = (facts.ended_ns - facts.begun_ns) / 1e9
    for number in range(6):
        x = WIDTH * number / 5
        anchor = "start" if number == 0 else "end" if number == 5 else "middle"
        label = clock(seconds * number / 5)
        parts.append(f'<text x="{x:.0f}" y="{height - 2}" text-anchor="{anchor}">{label}</text>')
    title = "Both voices over the whole conversation, with marks for flushes, calls and the link"
    return (
        f'<div class="wide"><svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{title}">{"".join(parts)}</svg></div>'
    )


def voice(levels: Sequence[float], first_x: float, middle: float, css: str) -> str:
    """Return one voice as bars around a line."""
    if not levels:
        return ""
    per_bar = max(1, len(levels) // BARS)
    peaks = [max(levels[at : at + per_bar]) for at in range(0, len(levels), per_bar)]
    step = (WIDTH - first_x) / len(peaks)
    paths = []
    for number, peak in enumerate(peaks):
        # The root makes soft speech visible beside loud speech.
        half = max(0.5, peak**0.5 * (LANE / 2 - 6))
        x = first_x + number * step
        paths.append(f"M{x:.1f} {middle - half:.1f}V{middle + half:.1f}")
    return f'<path class="{css}" d="{"".join(paths)}" stroke-width="{max(0.6, step * 0.7):.1f}"/>'


def _mark(x: float, css: str, title: str) -> str:
    return (
        f'<g class="{css}"><line x1="{x}" x2="{x}" y1="14" y2="{2 * LANE + 12}"/>'
        f"<title>{escape(title)}</title></g>"
    )


def hop_bar(hops: dict[str, float], longest_ms: float) -> str:
    """Return where the ms of an interruption went, as one bar."""
    x, parts = 0.0, []
    for number, name in enumerate(HOPS):
        width = hops.get(name, 0.0) / max(longest_ms, 1.0) * 300
        title = f"{name}: {hops.get(name, 0.0):.1f} ms"
        parts.append(
            f'<rect class="hop{number}" x="{x:.1f}" y="2" width="{width:.1f}" height="10">'
            f"<title>{title}</title></rect>"
        )
        x += width
    words = ", ".join(f"{name} {ms:.1f} ms" for name, ms in hops.items())
    return (
        f'<svg class="hops" viewBox="0 0 300 14" role="img" aria-label="{escape(words)}">'
        f"{''.join(parts)}</svg>"
    )


def histogram(values: Sequence[float]) -> str:
    """Return how values in ms are distributed, from 0 to the largest one."""
    most = max(values) or 1.0
    counts = [0] * 30
    for value in values:
        counts[min(29, max(0, int(value / most * 30)))] += 1
    tallest = max(counts)
    bars = "".join(
        f'<rect class="bar" x="{number * 10 + 1}" y="{50 - 46 * count / tallest:.1f}" width="8"'
        f' height="{46 * count / tallest:.1f}"/>'
        for number, count in enumerate(counts)
        if count
    )
    label = f"{len(values)} values from 0 to {most:.1f} ms"
    return (
        f'<svg class="histogram" viewBox="0 0 300 52" role="img" aria-label="{label}">{bars}</svg>'
    )


def strip(beats: Sequence[tuple[int, bool]], begun_ns: int, ended_ns: int) -> str:
    """Return a stage's health over time: where it was well, not well, or not there."""
    axis = Axis(begun_ns, ended_ns)
    parts: list[str] = []
    runs: list[tuple[int, int, bool]] = []
    for at, well in beats:
        # A stage that says nothing for longer than 3 s was not there.
        if runs and runs[-1][2] == well and at - runs[-1][1] < 3_000_000_000:
            runs[-1] = (runs[-1][0], at, well)
        else:
            runs.append((at, at, well))
    for begin, end, well in runs:
        width = max(3.0, axis.x(end) - axis.x(begin))
        css = "well" if well else "unwell"
        parts.append(
            f'<rect class="{css}" x="{axis.x(begin)}" y="0" width="{width:.1f}" height="10"/>'
        )
    share = sum(well for _, well in beats) / max(1, len(beats)) * 100
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} 10" preserveAspectRatio="none" role="img"'
        f' aria-label="well in {share:.0f} % of its reports">{"".join(parts)}</svg>'
    )


def clock(seconds: float) -> str:
    """Return a time in the recording, as 1:05.2."""
    tenths = round(seconds * 10)  # before it is divided: there is no 9:60.0
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
