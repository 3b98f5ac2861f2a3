"""The page without a conversation: what a door could tell it, faster than any door does."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright")
from playwright.sync_api import Browser, Page, Route

from tests.support import chromium

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(chromium.EXECUTABLE is None, reason="there is no Chromium"),
]

PAGE = Path(__file__).parents[2] / "services" / "monitor" / "page"
#: A door of the test: `tell` hands the page a message. The door stays in the state CONNECTING:
#: in that state, the page does not take a pause of the test for a stopped monitor.
DOOR = """
window.sockets = [];
window.WebSocket = class {
  static OPEN = 1;
  constructor() {
    this.readyState = 0;
    window.sockets.push(this);
  }
  send() {}
};
window.tell = (told) => window.sockets.at(-1).onmessage({ data: JSON.stringify(told) });
"""
SNAPSHOT: dict[str, Any] = {
    "type": "snapshot",
    "at_ms": 0,
    "state": "listening",
    "settings": {"decide": "server", "capture": "auto", "playback": "auto"},
    "captions": [],
    "interruptions": [],
    "marks": [],
    "results": [],
    "stages": [],
}
#: Tells what a door tells of some seconds: levels, words and healths each second, and a turn with
#: an interruption every two seconds, which no person could keep up.
TELL = """([begin, end]) => {
  const words = "It takes three days on foot, and about three minutes in the telling. ".repeat(8);
  for (let second = begin; second < end; second++) {
    const at_ms = second * 1000;
    const turn = Math.floor(second / 2);
    const cut = second % 2 === 1;
    for (let n = 0; n < 10; n++) {
      for (const voice of ["person", "assistant"]) {
        tell({ type: "levels", voice, at_ms: at_ms + n * 100, peaks: [30, 50, 70, 50, 30] });
      }
    }
    const heard = words.slice(0, 200);
    tell({ type: "caption", item_id: `item_${turn}`, role: turn % 2 ? "user" : "assistant",
      final: cut, cut, heard, unheard: words.slice(200) });
    const received = { "server.event": second * 50 };
    const stages = Array.from({ length: 10 }, (_, n) => ({ stage: `stage${n}`, pid: n, ok: true,
      state: "open", silent: [], off_rate: [], received, memory_mb: 40, cpu: 1.5, gaps: 0, drops: 0,
      counters: { frames: second } }));
    tell({ type: "health", at_ms, stages });
    if (!cut) continue;
    for (const kind of ["onset", "duck", "flush", "turn_end", "call"]) {
      tell({ type: "mark", kind, at_ms });
    }
    tell({ type: "interruption", at_ms, cause: "speech_started", silence_ms: 12,
      hops: { onset: -60, event: 0, flush_sent: 0.5, silent: 12 }, heard_ms: 9000,
      received_ms: 20000, items: [{ heard, unheard: words.slice(200) }] });
    tell({ type: "calls", calls: [
      { call_id: `call_${turn}`, name: "f", state: "asking", summary: "f()" }] });
    tell({ type: "result", call_id: `call_${turn}`, summary: "f()", result: "done", text: words });
    tell({ type: "usage", currency: "USD", conversation: { responses: turn, input_text: second } });
  }
}"""
#: Waits until the page has drawn what it was told, and stops the drawing. The page draws all the
#: time. The garbage that it makes after the collection and before the heap's size is read would
#: count, and a slow machine leaves it more time to make some.
HOLD = """new Promise((done) => {
  window.nextFrame = window.requestAnimationFrame;
  window.held = [];
  window.requestAnimationFrame = (draw) => held.push(draw);
  nextFrame(() => nextFrame(() => done()));
})"""
#: Lets the page draw again.
GO_ON = """() => {
  window.requestAnimationFrame = nextFrame;
  held.forEach((draw) => nextFrame(draw));
}"""
#: The page keeps 100 captions and 30 interruptions: after this time, s, it has reached its size.
FULL_S = 220


@dataclass(frozen=True)
class Size:
    """How large a page is."""

    heap_mb: float
    nodes: int


def told(page: Page, begin: int, end: int) -> Size:
    """Tell the page some seconds, and return what became of it."""
    page.evaluate(TELL, [begin, end])
    page.evaluate(HOLD)
    meter = page.context.new_cdp_session(page)
    meter.send("Performance.enable")
    meter.send("HeapProfiler.collectGarbage")
    found = {
        each["name"]: each["value"] for each in meter.send("Performance.getMetrics")["metrics"]
    }
    meter.detach()
    page.evaluate(GO_ON)
    return Size(found["JSHeapUsedSize"] / 1e6, int(found["Nodes"]))


def serve(route: Route) -> None:
    """Answer a request with a file of the page."""
    name = route.request.url.split("localhost", 1)[1].partition("?")[0].lstrip("/")
    path = PAGE / (name.removeprefix("page/") or "index.html")
    kind = mimetypes.guess_type(path.name)[0]
    route.fulfill(body=path.read_bytes(), content_type=kind)


def opened(browser: Browser, **options: Any) -> Page:
    """Open the page, with a door of the test."""
    page = browser.new_context(**options).new_page()
    page.add_init_script(DOOR)
    page.route("http://localhost/**", serve)
    page.goto("http://localhost/#token=x")
    page.wait_for_function("window.sockets.length === 1")
    page.evaluate("(told) => tell(told)", SNAPSHOT)
    return page


def test_the_page_stays_as_small_as_it_was_once_it_is_full(tmp_path: Path) -> None:
    with chromium.chromium(tmp_path / "none.wav") as browser:
        page = opened(browser)
        full = told(page, 0, FULL_S)
        later = told(page, FULL_S, 2 * FULL_S)
        assert later.nodes <= 1.05 * full.nodes, (full, later)
        assert later.heap_mb <= 1.2 * full.heap_mb, (full, later)
        # A door that refuses the token is not one that is away.
        page.route("http://localhost/voice", lambda route: route.fulfill(status=503))
        page.evaluate("sockets.at(-1).onclose()")
        assert "does not answer" in page.inner_text("#state")
        page.wait_for_function("sockets.length === 2")
        page.unroute("http://localhost/voice")
        page.route("http://localhost/voice", lambda route: route.fulfill(status=401))
        page.evaluate("sockets.at(-1).onclose()")
        page.wait_for_selector("#state:has-text('this link is not valid')")


#: A stage's health, and a setting, as a door tells them.
HEALTH: dict[str, Any] = {
    "stage": "link", "pid": 1, "ok": True, "state": "open", "silent": [], "off_rate": [],
    "received": {}, "memory_mb": 34, "cpu": 1.5, "gaps": 0, "drops": 0, "counters": {},
}  # fmt: skip
SPEED: dict[str, Any] = {"name": "speed", "value": 1.2, "low": 0.25, "high": 1.5, "changed": True}


def teller(page: Page) -> Callable[..., None]:
    """Return what sends a page a message, as a door does."""

    def tell(**told: Any) -> None:
        page.evaluate("(told) => tell(told)", told)

    return tell


def test_the_keyboard_and_a_screen_reader_keep_their_place_while_the_page_changes(
    tmp_path: Path,
) -> None:
    with chromium.chromium(tmp_path / "none.wav") as browser:
        page = opened(browser)
        tell = teller(page)

        tell(type="health", at_ms=0, stages=[HEALTH])
        page.evaluate("window.cells = [...document.querySelectorAll('#stages td')]")
        tell(type="health", at_ms=1000, stages=[{**HEALTH, "state": "closed", "cpu": 9}])
        assert page.inner_text("#stages td >> nth=0") == "ok: closed"
        assert page.evaluate("cells.every((cell) => cell.isConnected)")
        # a button that is disabled hands the focus on
        page.click("summary")
        tell(type="session", settings=[SPEED])
        page.focus("#unset")
        tell(type="session", settings=[{**SPEED, "value": 1, "changed": False}])
        assert page.is_disabled("#unset")
        assert page.evaluate("document.activeElement.textContent") == "Apply"


def asked(name: str, state: str = "asking") -> dict[str, str]:
    """Return a function call as a door tells of it."""
    return {"call_id": name, "name": name, "state": state, "summary": f"{name}()"}


def test_a_screen_reader_hears_which_call_waits_and_the_buttons_keep_the_focus(
    tmp_path: Path,
) -> None:
    with chromium.chromium(tmp_path / "none.wav") as browser:
        page = opened(browser)
        tell = teller(page)

        def lines() -> list[str]:
            return [line.strip() for line in page.locator("#calls li").all_inner_texts()]

        # each sentence is added to the live region once, however often the list of calls is told
        live = page.locator("[aria-live=assertive]")
        tell(type="calls", calls=[asked("lock")])
        first = live.locator("p").element_handle()
        assert first is not None
        assert first.inner_text() == (
            "The assistant waits for you: may lock() run? Press the button Allow or Deny."
        )
        tell(type="calls", calls=[asked("lock"), asked("open")])
        assert live.locator("p").count() == 2
        assert first.evaluate("(p) => p.isConnected")
        # other calls come and go: the focus stays
        page.get_by_role("button", name="Deny open()", exact=True).focus()
        tell(type="calls", calls=[asked("read", "running"), asked("lock"), asked("open")])
        tell(type="calls", calls=[asked("lock", "running"), asked("open")])
        done = {"type": "result", "call_id": "read", "summary": "read()", "result": "done"}
        tell(**done, text="12")
        tell(type="calls", calls=[asked("open"), asked("lock", "running")])
        focused = "document.activeElement.getAttribute('aria-label')"
        assert page.evaluate(focused) == "Deny open()"
        assert lines() == ["open(): may it run? Allow Deny", "lock(): running", "read(): done: 12"]
        assert live.inner_text().count("may") == 1
        # the person presses the key: the buttons go, and the keyboard stays at the list
        page.evaluate("sockets.at(-1).readyState = 1; sockets.at(-1).send = (t) => window.sent = t")
        page.keyboard.press("Enter")
        assert '"deny","id":"open"' in page.evaluate("window.sent")
        tell(type="calls", calls=[asked("lock", "running")])
        assert page.evaluate(focused) == "Function calls"
        assert live.inner_text() == ""
