"""Chromium without a window, whose microphone is a file, and the page of monitor in it."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from shared import door
from tests.support.pipeline import PATIENCE_S
from tests.support.playing import Samples

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")
TAP = Path(__file__).with_name("tap.js")

#: Taps the sound that the page's speaker renders.
LISTEN = """async (code) => {
  await voice.context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(code)}`);
  window.tap = new AudioWorkletNode(voice.context, "tap", { numberOfOutputs: 0 });
  voice.player.connect(window.tap);
}"""
#: Returns what was rendered, as base64 of float32.
RENDERED = """async () => {
  const blocks = await new Promise((resolve) => {
    window.tap.port.onmessage = ({ data }) => resolve(data);
    window.tap.port.postMessage(null);
  });
  const all = new Uint8Array(await new Blob(blocks).arrayBuffer());
  let text = "";
  for (let i = 0; i < all.length; i += 8192) {
    text += String.fromCharCode(...all.subarray(i, i + 8192));
  }
  return btoa(text);
}"""
#: Lets the page hear silence.
DEAF = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    stream.getTracks().forEach((track) => (track.enabled = false));
    return stream;
  };
}"""
#: Makes the browser refuse to record at another rate than its own.
OWN_RATE_ONLY = """() => {
  const record = AudioContext.prototype.createMediaStreamSource;
  AudioContext.prototype.createMediaStreamSource = function (stream) {
    if (this.sampleRate === 24000) throw new DOMException("other rates", "NotSupportedError");
    return record.call(this, stream);
  };
}"""
#: Leaves only the way through the door.
THROUGH_THE_DOOR = """() => {
  const all = voice.offer;
  voice.offer = async () => {
    const { capture, playback } = await all();
    return { capture: capture.slice(-1), playback: playback.slice(-1) };
  };
}"""


@contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    """Run Chromium. ``microphone``: the WAV that each page hears, from its beginning."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE,
            args=[
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
                "--no-sandbox",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Browser, bus: Path, faults: list[str], *, tapped: bool) -> Page:
    """Open the page that monitor serves on a bus; collect what goes wrong in the page.

    ``tapped``: its content security policy does not keep the tap out.
    """
    page = browser.new_context(bypass_csp=tapped).new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(f"{(bus / door.ADDRESS).read_text().strip()}#token={door.token(bus)}")
    return page


def talk(page: Page) -> None:
    """Press the button, and wait until both directions are connected."""
    page.get_by_role("button", name="Talk from this page").click()
    wait_until(page, "voice.microphone === 'on' && voice.speaker === 'on'")


def tap(page: Page) -> None:
    """Keep the sound that the page's speaker renders from now on."""
    page.evaluate(LISTEN, TAP.read_text("utf-8"))


def wait_until(page: Page, condition: str) -> None:
    """Wait until an expression is true in the page."""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never: {condition}"
        page.wait_for_timeout(50)


def rendered(page: Page) -> Samples:
    """Return the sound that the page's speaker has rendered since `tap`."""
    samples = np.frombuffer(base64.b64decode(page.evaluate(RENDERED)), "<f4")
    heard: Samples = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
    return heard
