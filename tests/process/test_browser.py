"""A conversation through a real browser: Chromium hears a file, and its sound is tapped."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness import recordings
from shared import messages
from shared.audio import pcm
from tests.support.page import rendered as matching
from tests.support.pipeline import UNHELD, Keeper, Pipeline

pytest.importorskip("playwright", reason="the page is tested with playwright")
from tests.support import chromium

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(chromium.EXECUTABLE is None, reason="there is no Chromium"),
]

CLIP = pcm.to_array(recordings.clip("long"))
QUESTION_S, WAIT_S, LENGTH_S = 0.6, 5.5, 30.0
#: The truncation may differ from what the browser rendered by so many ms.
EXACT_MS = 10


def microphone(path: Path) -> Path:
    """Record what the person says after the page was opened."""
    heard = np.zeros(round(LENGTH_S * pcm.RATE), np.int16)
    for at_s, utterance in ((QUESTION_S, recordings.QUESTION), (WAIT_S, recordings.WAIT)):
        speech = recordings.spoken(utterance)
        heard[round(at_s * pcm.RATE) :][: len(speech)] = speech
    soundfile.write(path, heard, pcm.RATE, subtype="PCM_16")
    return path


def hears(seconds: float) -> Callable[[messages.Heard], bool]:
    """Return a predicate: so much of the last reply was heard, and it goes on."""
    return lambda h: h.playing and h.items[-1].heard > seconds * pcm.RATE


def test_the_truncation_is_what_the_browser_rendered(kept: Keeper, tmp_path: Path) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        bus = pipeline.bus
        pipeline.settings |= {
            "capture.device": "browser",
            "playback.device": "browser",
            "interruption.duck": "off",
        }
        pipeline.emulator("--reply", "clip:long", "--burst")
        stages = pipeline.all_up("capture", "echo", "vad", "uplink", "downlink", "playback")
        pipeline.all_up("link", "monitor", settings={"monitor.port": 0})
        pipeline.meet()
        with chromium.chromium(microphone(tmp_path / "person.wav")) as browser:
            # The second page takes over from the first one.
            faults: list[str] = []
            older, page = (
                chromium.open_page(browser, pipeline.bus_directory, faults, tapped=tapped)
                for tapped in (False, True)
            )
            # The older page is deaf, and its browser records at its own rate only.
            older.evaluate(chromium.DEAF)
            older.evaluate(chromium.OWN_RATE_ONLY)
            chromium.talk(older)
            assert older.evaluate("voice.context.sampleRate") != pcm.RATE
            bus.health("playback", lambda h: h.ok)
            chromium.talk(page)
            chromium.tap(page)
            chromium.wait_until(older, "voice.speaker === 'taken' && voice.microphone === 'taken'")
            older.close()
            # The person talks over the reply.
            record = bus.wait_for(messages.Interruption, patience=40).message
            truth_ms = matching(chromium.rendered(page), CLIP) / pcm.RATE * 1000
            [cut] = record.reports
            assert cut.action == "truncate"
            assert cut.audio_end_ms == pytest.approx(truth_ms, abs=EXACT_MS)
            # The tab sleeps in the middle of the next reply: the reply waits for it.
            after = bus.now
            bus.wait_for(messages.Heard, hears(1), since=after, patience=40)
            page.evaluate("voice.context.suspend()")
            bus.health("playback", lambda h: not h.ok, since=bus.now)
            slept = bus.all(messages.Heard)[-1].items[-1]
            page.evaluate("voice.context.resume()")
            bus.wait_for(messages.Heard, hears(slept.heard / pcm.RATE + 0.5), since=after)
            # The tab is reloaded, and the question is asked again.
            # From then on the door passes the voice on.
            page.reload()
            bus.health("playback", lambda h: not h.ok, since=bus.now)
            known = bus.all(messages.Heard)[-1].items[-1]
            page.evaluate(chromium.THROUGH_THE_DOOR)
            chromium.talk(page)
            chromium.tap(page)
            again = bus.wait_for(
                messages.Interruption,
                lambda m: any(r.item_id == known.item_id for r in m.reports),
                patience=40,
            ).message
            [cut] = again.reports
            truth = known.heard + matching(chromium.rendered(page), CLIP[known.heard :])
            assert cut.audio_end_ms == pytest.approx(truth / pcm.RATE * 1000, abs=EXACT_MS)
            # A capture that is stopped leaves its connection open, and hears nobody.
            stages["capture"].send(signal.SIGSTOP)
            said = "document.querySelector('#talk').textContent.includes('{}')"
            chromium.wait_until(page, said.format("capture does not answer"))
            stages["capture"].send(signal.SIGCONT)
            chromium.wait_until(page, said.format("Bargein hears you."))
            assert not faults
