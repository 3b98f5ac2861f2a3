"""The two tones about the connection: when they are played, and how they sound."""

from __future__ import annotations

import numpy as np
import pytest

from services.playback import cues
from services.playback.cues import BACK, LOST, Cues
from services.playback.player import Player
from shared import messages
from shared.audio import pcm

pytestmark = pytest.mark.unit

MS = 1_000_000
START = 5_000 * MS
FADE = 72


def played(told: Cues, states: list[tuple[int, bool]], until_ms: int) -> list[tuple[int, bytes]]:
    """Return the tones and when each is due, ms.

    ``states``: at which times, ms, link reports that the connection is open or not.
    """
    found = []
    for now_ms in range(0, until_ms, 10):
        for at_ms, is_open in states:
            if at_ms == now_ms:
                told.link(START + now_ms * MS, is_open=is_open)
        if tone := told.due(START + now_ms * MS):
            found.append((now_ms, tone))
    return found


def test_a_first_connection_has_no_cue() -> None:
    assert played(Cues(), [(0, False), (1000, True), (2000, True)], 4000) == []


def test_a_loss_has_a_cue_and_so_has_its_end() -> None:
    told = played(Cues(), [(0, True), (500, False), (900, False), (2000, True)], 4000)
    assert told == [(900, LOST), (2000, BACK)]


def test_a_loss_of_a_moment_goes_unsaid() -> None:
    assert played(Cues(), [(0, True), (500, False), (890, True), (1500, True)], 4000) == []


def test_a_link_that_is_gone_is_a_loss() -> None:
    [(at, tone), (back, end)] = played(Cues(), [(0, True), (9000, True)], 11_000)
    assert (tone, end, back) == (LOST, BACK, 9000)
    assert 3000 < at < 4000


def pitch(tone: bytes) -> float:
    """Return the strongest pitch of a tone, Hz."""
    samples = pcm.to_array(tone).astype(float)
    spectrum = np.abs(np.fft.rfft(samples, 1 << 16))
    return float(np.argmax(spectrum)) * pcm.RATE / (1 << 16)


def test_one_falls_and_the_other_rises_softly() -> None:
    for tone, first, second in [(LOST, 587, 440), (BACK, 440, 587)]:
        half = len(tone) // 4 * 2
        assert pitch(tone[:half]) == pytest.approx(first, abs=5)
        assert pitch(tone[half:]) == pytest.approx(second, abs=5)
        samples = pcm.to_array(tone)
        assert len(samples) == 2 * round(cues.TONE_S * pcm.RATE)
        assert 0.03 * 32767 < np.abs(samples).max() < 0.07 * 32767
        # no click: the tone begins and ends at zero, and no step is larger than a wave's
        assert samples[0] == samples[-1] == 0
        assert np.abs(np.diff(samples.astype(int))).max() < 400


# tones in the player


def reply(samples: int, start: int = 0, *, last: bool = True) -> messages.ReplyAudio:
    return messages.ReplyAudio(
        generation=1,
        session=1,
        response_id="r",
        item_id="i",
        content_index=0,
        start=start,
        last=last,
        payload=np.full(samples, 9999, "<i2").tobytes(),
    )


def player() -> Player:
    return Player(1, 0, FADE)


def test_a_tone_is_played_and_is_nobodys() -> None:
    made = player()
    made.cue(LOST)
    out = b"".join(made.render(100) for _ in range(100))
    assert out == LOST.ljust(len(out), b"\0")
    assert not made.playing
    assert made.items() == []
    assert (made.underruns, made.gap_samples) == (0, 0)


def test_a_tone_waits_for_a_reply_to_end() -> None:
    made = player()
    made.push(reply(1000))
    made.cue(LOST)
    first = made.render(1000)
    assert first == reply(1000).payload
    assert not any(made.render(10))
    assert made.render(len(LOST) // 2) == LOST
    [item] = made.items()
    assert (item.heard, item.whole) == (1000, True)


def test_a_reply_ends_a_tone_and_loses_nothing() -> None:
    made = player()
    made.cue(LOST)
    begun = made.render(2000)
    made.push(reply(1000))
    after = made.render(2000)
    assert begun == LOST[:4000]
    # the tone fades out, and the whole reply follows
    faded = np.abs(pcm.to_array(after[: 2 * FADE]).astype(int))
    unfaded = np.abs(pcm.to_array(LOST[4000 : 4000 + 2 * FADE]).astype(int))
    assert np.all(faded <= unfaded)
    assert faded[-5:].max() < 100
    assert after[2 * FADE :] == reply(1000).payload.ljust(4000 - 2 * FADE, b"\0")
    assert made.items()[0].heard == 1000


def test_a_reply_comes_before_a_tone_that_has_not_begun() -> None:
    made = player()
    made.cue(BACK)
    made.push(reply(500))
    assert made.render(510) == reply(500).payload + bytes(20)
    assert made.render(len(BACK) // 2) == BACK


@pytest.mark.parametrize("begun", [0, 2000])
def test_a_flush_ends_a_tone(begun: int) -> None:
    made = player()
    made.cue(LOST)
    made.render(begun)
    assert made.flush(2) == []
    rest = made.render(4000)
    assert not any(rest[2 * FADE :] if begun else rest)
    assert made.items() == []


def test_a_newer_tone_takes_an_earlier_ones_place() -> None:
    made = player()
    made.cue(LOST)
    made.cue(BACK)
    assert made.render(len(BACK) // 2) == BACK
    assert not any(made.render(1000))
