"""The recorder's time line: where the frames of two streams are placed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.audio import pcm, timeline
from shared.audio.timeline import Timeline

pytestmark = pytest.mark.unit

MIC, SPEAKER = 0, 1
START_NS = 5_000_000_000_000
FRAME = pcm.FRAME


@dataclass(frozen=True)
class Frame:
    """A frame to place. ``at`` is its place by the clock, in samples from the first frame."""

    channel: int
    stream: int
    position: int
    at: int
    value: int
    samples: int = FRAME

    def put(self, line: Timeline) -> None:
        # rounded up, because the time line rounds down
        at_ns = START_NS - (-self.at * 10**9 // pcm.RATE)
        line.put(
            self.channel,
            self.stream,
            self.position,
            at_ns,
            pcm.from_array(np.full(self.samples, self.value, np.int16)),
        )


#: An empty frame that puts the beginning of the time line at sample 0.
ZERO = Frame(MIC, 1, 0, 0, 0, samples=0)


def placed(frames: Sequence[Frame]) -> NDArray[np.int16]:
    line = Timeline()
    for frame in (ZERO, *frames):
        frame.put(line)
    return line.take()


def runs(column: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Return a channel as pairs of a value and the number of samples in a row that have it."""
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    return [(int(column[a]), b - a) for a, b in itertools.pairwise(edges) if b > a]


def test_nothing_gives_nothing() -> None:
    line = Timeline()
    assert line.take().shape == (0, 2)
    assert line.take(100).shape == (0, 2)


def test_each_channel_is_where_its_clock_has_it() -> None:
    found = placed([Frame(MIC, 1, 0, 0, 7), Frame(SPEAKER, 5, 0, 1234, 9)])
    assert runs(found[:, MIC]) == [(7, FRAME), (0, 1234)]
    assert runs(found[:, SPEAKER]) == [(0, 1234), (9, FRAME)]


def test_a_stream_that_was_joined_late_is_placed_by_its_clock() -> None:
    found = placed([Frame(SPEAKER, 5, 48_000, 100, 9), Frame(SPEAKER, 5, 48_480, 580, 8)])
    assert runs(found[:, SPEAKER]) == [(0, 100), (9, FRAME), (8, FRAME)]


@given(st.lists(st.integers(-timeline.DRIFT, timeline.DRIFT), min_size=1, max_size=40))
@example([timeline.DRIFT] * 40)
@example([-timeline.DRIFT] * 40)
def test_a_clock_that_trembles_leaves_no_gap(offs: list[int]) -> None:
    start = 2 * timeline.DRIFT
    frames = [Frame(SPEAKER, 5, 0, start, 1)] + [
        Frame(SPEAKER, 5, n * FRAME, start + n * FRAME + off, n + 1)
        for n, off in enumerate(offs, start=1)
    ]
    assert runs(placed(frames)[:, SPEAKER]) == [
        (0, start),
        *((n + 1, FRAME) for n in range(len(frames))),
    ]


def test_a_message_that_was_lost_leaves_a_gap_of_its_length() -> None:
    found = placed([Frame(MIC, 1, n * FRAME, n * FRAME, n + 1) for n in (0, 1, 4)])
    assert runs(found[:, MIC]) == [(1, FRAME), (2, FRAME), (0, 2 * FRAME), (5, FRAME)]


def test_a_stream_that_begins_anew_is_placed_by_its_clock() -> None:
    frames = [
        Frame(MIC, 1, 0, 0, 1),
        Frame(MIC, 2, 0, 5000, 2),
        Frame(MIC, 2, FRAME, 5000 + FRAME, 3),
    ]
    found = placed(frames)
    assert runs(found[:, MIC]) == [(1, FRAME), (0, 5000 - FRAME), (2, FRAME), (3, FRAME)]


@pytest.mark.parametrize("drift", [timeline.DRIFT + 1, 20_000])
def test_a_device_that_lost_samples_is_placed_anew(drift: int) -> None:
    drift_frames = timeline.DRIFT_FRAMES
    frames = [Frame(MIC, 1, 0, 0, 1)] + [
        # from here on the device's clock is ahead of its count of samples
        Frame(MIC, 1, n * FRAME, n * FRAME + drift, n + 1)
        for n in range(1, drift_frames + 3)
    ]
    believed, anew = frames[:drift_frames], frames[drift_frames:]
    assert runs(placed(frames)[:, MIC]) == [
        *((f.value, FRAME) for f in believed),
        (0, drift),
        *((f.value, FRAME) for f in anew),
    ]


def test_a_device_whose_clock_went_back_is_placed_anew() -> None:
    drift = timeline.DRIFT + 1
    begin = 10 * drift
    frames = [Frame(MIC, 1, 0, begin, 1)] + [
        Frame(MIC, 1, n * FRAME, begin + n * FRAME - drift, n + 1)
        for n in range(1, timeline.DRIFT_FRAMES + 1)
    ]
    found = runs(placed(frames)[:, MIC])
    # the last frame begins so much earlier, and replaces what was there
    assert (frames[-1].value, FRAME) in found
    before = sum(length for value, length in found[: found.index((frames[-1].value, FRAME))])
    assert before == begin + timeline.DRIFT_FRAMES * FRAME - drift


def test_a_position_that_cannot_be_true_does_not_count() -> None:
    far = 100 * timeline.JUMP
    frames = [
        Frame(MIC, 1, 0, 0, 1),
        Frame(MIC, 1, far, FRAME, 2),
        Frame(MIC, 1, far + FRAME, 2 * FRAME, 3),
        Frame(MIC, 1, 3 * FRAME, 3 * FRAME, 4),
    ]
    assert runs(placed(frames)[:, MIC]) == [(n, FRAME) for n in (1, 2, 3, 4)]


def test_a_few_late_frames_are_no_drift() -> None:
    frames = [Frame(MIC, 1, 0, 0, 1)]
    for n in range(1, 40):
        late = 0 if n % timeline.DRIFT_FRAMES == 0 else 5 * timeline.DRIFT
        frames.append(Frame(MIC, 1, n * FRAME, n * FRAME + late, n + 1))
    assert runs(placed(frames)[:, MIC]) == [(n + 1, FRAME) for n in range(40)]


def test_a_minute_of_nothing_is_a_minute_of_silence() -> None:
    minute = 60 * pcm.RATE
    found = placed([Frame(MIC, 1, 0, 0, 1), Frame(MIC, 2, 0, minute, 2)])
    assert runs(found[:, MIC]) == [(1, FRAME), (0, minute - FRAME), (2, FRAME)]


def test_a_frame_loses_the_part_that_comes_after_its_time_was_taken() -> None:
    line = Timeline()
    for frame in (ZERO, Frame(MIC, 1, 0, 0, 1), Frame(MIC, 1, FRAME, FRAME, 2)):
        frame.put(line)
    assert len(line.take(FRAME // 2)) == FRAME + FRAME // 2
    Frame(SPEAKER, 5, 0, FRAME, 9).put(line)
    Frame(SPEAKER, 6, 0, 0, 8).put(line)
    rest = line.take()
    assert runs(rest[:, MIC]) == [(2, FRAME // 2)]
    assert runs(rest[:, SPEAKER]) == [(9, FRAME // 2)]


@st.composite
def conversations(draw: st.DrawFn) -> list[Frame]:
    """Draw frames of two channels in some order of arrival, with restarts and lost frames."""
    lines: list[list[Frame]] = [[], []]
    for channel in (MIC, SPEAKER):
        position = at = draw(st.integers(0, 3000))
        stream = 1
        for _ in range(draw(st.integers(0, 12))):
            what = draw(st.sampled_from(["next", "next", "lost", "restart"]))
            if what == "lost":
                position, at = position + FRAME, at + FRAME
            elif what == "restart":
                stream, position, at = stream + 1, 0, at + draw(st.integers(0, 20_000))
            samples = draw(st.sampled_from([1, 79, FRAME]))
            value = draw(st.integers(-32768, 32767))
            lines[channel].append(Frame(channel, stream, position, at, value, samples))
            position, at = position + samples, at + samples
    arrived = []
    while any(lines):
        channel = draw(st.sampled_from([c for c in (MIC, SPEAKER) if lines[c]]))
        arrived.append(lines[channel].pop(0))
    return arrived


@settings(max_examples=150)
@given(conversations(), st.data())
def test_taken_piece_by_piece_it_is_the_same(frames: list[Frame], data: st.DataObject) -> None:
    # ``late``: by how much a frame arrives after its place on the time line, at most
    end = late = 0
    for frame in frames:
        late = max(late, end - frame.at)
        end = max(end, frame.at + frame.samples)
    line = Timeline()
    ZERO.put(line)
    pieces = []
    for frame in frames:
        frame.put(line)
        if data.draw(st.booleans(), "take"):
            pieces.append(line.take(late + data.draw(st.integers(0, 600), "keep")))
    pieces.append(line.take())
    assert np.array_equal(np.concatenate(pieces), placed(frames))
    assert not len(line.take())
