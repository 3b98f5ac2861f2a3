"""The page of a conversation in a real browser."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from harness import recordings
from shared import messages
from tests.support.pipeline import UNHELD, Keeper, Pipeline

pytest.importorskip("playwright", reason="the page is tested with playwright")
from tests.support import chromium

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(chromium.EXECUTABLE is None, reason="there is no Chromium"),
]


def test_the_page_shows_the_conversation_and_obeys_the_keyboard(
    kept: Keeper, tmp_path: Path
) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        said = [(0.6, recordings.QUESTION), (6.0, recordings.WAIT)]
        microphone = recordings.microphone(tmp_path / "person.wav", said, 40)
        pipeline.settings |= {
            "capture.device": microphone,
            "echo.enabled": False,
            "monitor.port": 0,
        }
        pipeline.emulator("--reply", "clip:long", "--burst")
        stages = ("echo", "vad", "uplink", "downlink", "playback", "monitor")
        monitor = pipeline.all_up(*stages)["monitor"]
        pipeline.up("link")
        pipeline.meet()
        pipeline.up("capture")
        faults: list[str] = []
        with chromium.chromium(tmp_path / "person.wav") as browser:
            page: Any = chromium.open_page(browser, pipeline.bus_directory, faults, tapped=False)
            page.set_viewport_size({"width": 360, "height": 740})
            page.wait_for_selector("#cuts article")
            card = page.inner_text("#cuts article")
            assert "stopped in" in card
            assert page.inner_text("#cuts article s").strip()
            assert page.locator("#cuts .bar i").count() >= 2
            chromium.wait_until(page, "document.body.dataset.state === 'speaking'")
            assert "long" not in page.inner_text("#state")
            assert page.inner_text("#said .assistant")
            chromium.wait_until(
                page, "document.querySelector('#spoken').textContent.includes('stopped')"
            )
            page.wait_for_selector("#stages tr:nth-child(7)")
            room = page.inner_text("#room")
            assert "dBFS" in room
            assert "the microphone passes through" in room
            # both voices are drawn
            drawn = """() => {
              const canvas = document.querySelector("#waves");
              const { width, height } = canvas;
              const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
              let count = 0;
              for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
              return count / (width * height);
            }"""
            assert page.evaluate(drawn) > 0.02
            # nothing is wider than a phone
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            # by the keyboard alone
            page.focus("#mute")
            page.keyboard.press("Enter")
            pipeline.bus.wait_for(messages.Panel, lambda p: p.muted)
            chromium.wait_until(page, "document.querySelector('#mute').textContent === 'Unmute'")
            page.focus("#text")
            page.keyboard.type("What time is it?")
            page.keyboard.press("Enter")
            pipeline.bus.wait_for(
                messages.Transcript, lambda t: t.role == "user" and t.text == "What time is it?"
            )
            chromium.wait_until(page, "document.querySelector('#outcome').textContent === 'sent'")
            # a setting is applied, and a wrong one refused
            page.focus("summary")
            page.keyboard.press("Enter")
            speed = page.get_by_label("Speed (0.25 to 1.5)")
            for value, outcome in (
                ("9", "(accepted: 0.25 to 1.5)"),
                ("1.25", "changed until this conversation ends"),
            ):
                speed.fill(value)
                speed.press("Enter")
                page.wait_for_selector(f"output:has-text({outcome!r})")
            pipeline.bus.wait_for(messages.Panel, lambda p: p.session == {"speed": "1.25"})
            page.wait_for_selector(".changed:has-text('Speed')")
            assert not page.is_visible("[name='turn_detection.eagerness']")
            page.click("#unset")
            chromium.wait_until(page, "document.querySelector('#unset').disabled")
            assert speed.input_value() == "1"
            # a stopped monitor keeps the connections open, and sends nothing
            watch = pipeline.python("commands.watch", *pipeline.options({}))
            watch.wait_line(r"\w")
            monitor.send(signal.SIGSTOP)
            chromium.wait_until(page, "document.body.dataset.state === 'away'")
            page.click("#mute")
            refused = "document.querySelector('#outcome').textContent.includes('does not answer')"
            chromium.wait_until(page, refused)
            assert watch.wait() == 1
            assert "is it stopped?" in watch.lines[-1]
            monitor.send(signal.SIGCONT)
            chromium.wait_until(page, "document.body.dataset.state !== 'away'")
            page.click("#mute")  # "Unmute"
            pipeline.bus.wait_for(messages.Panel, lambda p: not p.muted, since=pipeline.bus.now)
        assert faults == []
