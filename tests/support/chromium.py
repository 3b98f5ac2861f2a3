"""Chromium without a window, whose microphone is a file, and the page that it talks through."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import BrowserContext, Page, sync_playwright

from shared import door
from tests.support.playing import Samples

ROOT = Path(__file__).parents[2]
EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")

#: Starts talking, and taps what the page's speaker renders.
START = """async () => {
  const { Voice } = await import("/voice.js");
  const voice = new Voice(async () => (await fetch("/voice")).json());
  window.voice = voice;
  await voice.start();
  await voice.context.audioWorklet.addModule("/tap.js");
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


@contextmanager
def chromium(microphone: Path) -> Iterator[BrowserContext]:
    """Run Chromium. ``microphone``: the WAV that each page hears, from its beginning."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE,
            args=[
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
                "--autoplay-policy=no-user-gesture-required",
                "--no-sandbox",
            ],
        )
        try:
            yield browser.new_context()
        finally:
            browser.close()


@contextmanager
def serving(bus: Path) -> Iterator[str]:
    """Serve the page's modules, and the addresses of the voice servers. Return the URL."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/voice":
                self._answer(json.dumps(addresses(bus)), "application/json")
            elif self.path == "/tap.js":
                script = Path(__file__).with_name("tap.js").read_text()
                self._answer(script, "text/javascript")
            elif self.path in ("/", "/favicon.ico"):
                self._answer("<!doctype html><title>voice</title>", "text/html")
            else:
                super().do_GET()

        def _answer(self, text: str, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    folder = str(ROOT / "services" / "monitor" / "page")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def addresses(bus: Path) -> dict[str, Any]:
    """Return what the page asks for before it talks."""
    ports = {stage: door.port(bus, stage) for stage in ("capture", "playback")}
    return {
        "token": door.token(bus),
        **{stage: [f"ws://127.0.0.1:{port}/"] if port else [] for stage, port in ports.items()},
    }


def rendered(page: Page) -> Samples:
    """Return what the page's speaker has rendered since `START`."""
    samples = np.frombuffer(base64.b64decode(page.evaluate(RENDERED)), "<f4")
    heard: Samples = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
    return heard
