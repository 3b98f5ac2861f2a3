"""Turn detection, with a scripted detector. The length of the audio is the only clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.emulator.ears import Detection, Ears, Started, Stopped, detection
from tests.support.emulator import Scripted, patiently

MS = 24


def heard(ears: Ears, ms: int, frame_ms: int = 20) -> list[Started | Stopped]:
    """Append ``ms`` of silence and return the turns that the ears find."""
    found: list[Started | Stopped] = []
    for _ in range(0, ms, frame_ms):
        ears.append(bytes(2 * MS * frame_ms))
        while ears.waiting:
            found += ears.hear(1)
    return found


def listening(*spans: tuple[int, int], padding: int = 300, silence: int = 200) -> Ears:
    ears = Ears(Scripted(*spans))
    ears.configure(Detection(0.5, padding, silence))
    return ears


def test_a_turn_begins_before_its_onset_and_ends_after_its_silence() -> None:
    found = heard(listening((992, 2016)), 4000)
    assert found == [Started((992 - 300) * MS), Stopped((2016 + 200) * MS, bytes(2 * 1524 * MS))]


@pytest.mark.parametrize("silence", [100, 500, 1000])
def test_the_silence_that_ends_a_turn_is_configured(silence: int) -> None:
    found = heard(listening((992, 2016), silence=silence), 5000)
    assert [f.end for f in found if isinstance(f, Stopped)] == [(2016 + silence) * MS]


def test_a_pause_shorter_than_the_silence_does_not_end_a_turn() -> None:
    assert len(heard(listening((992, 1504), (1664, 2016)), 4000)) == 2


def test_a_click_is_no_speech() -> None:
    assert heard(listening((992, 1024)), 2000) == []


def test_the_threshold_is_configured() -> None:
    ears = Ears(Scripted((992, 2016)))
    ears.configure(Detection(0.96, 300, 200))
    assert heard(ears, 3000) == []


def test_the_padding_does_not_reach_into_the_turn_before() -> None:
    found = heard(listening((992, 1504), (1760, 2496)), 4000)
    starts = [f.start for f in found if isinstance(f, Started)]
    ends = [f.end for f in found if isinstance(f, Stopped)]
    assert starts[1] == ends[0] == (1504 + 200) * MS


def test_a_commit_takes_what_was_heard_since_the_last() -> None:
    ears = Ears(Scripted())
    heard(ears, 500)
    assert ears.buffered == 500 * MS
    assert len(ears.commit()) == 2 * 500 * MS
    assert ears.buffered == 0
    heard(ears, 100)
    ears.clear()
    assert ears.buffered == 0
    assert ears.clock == 600 * MS


def test_without_turn_detection_no_turn_is_found_and_the_detector_is_idle() -> None:
    scripted = Scripted((0, 5000))
    ears = Ears(scripted)
    assert heard(ears, 2000) == []
    assert scripted.windows == 0


def test_turn_detection_switched_on_later_counts_from_the_start_of_the_session() -> None:
    ears = Ears(Scripted((992, 2016)))
    heard(ears, 1000)
    ears.configure(Detection(0.5, 300, 200))
    started, _ = heard(ears, 4000)
    assert started == Started((1000 + 992 - 300) * MS)


def test_silence_is_forgotten_after_a_minute() -> None:
    ears = listening()
    heard(ears, 63_000, frame_ms=1000)
    assert 60_000 * MS <= ears.buffered <= 62_000 * MS
    assert ears.clock == 63_000 * MS


@patiently
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_turns_do_not_depend_on_the_size_of_the_frames(sizes: list[int]) -> None:
    whole, split = listening((96, 416)), listening((96, 416))
    expected = heard(whole, 1000, 1000)
    found: list[Started | Stopped] = []
    left = 1000 * MS
    while left:
        for size in sizes:
            split.append(bytes(2 * min(size, left)))
            left -= min(size, left)
            while split.waiting:
                found += split.hear(2)
    assert found == expected


def test_eagerness_is_heard_as_a_silence() -> None:
    def silence(eagerness: str) -> int:
        found = detection({"type": "semantic_vad", "eagerness": eagerness})
        assert found is not None
        return found.silence_duration_ms

    assert silence("low") > silence("medium") == silence("auto") > silence("high")
    assert detection(None) is None
