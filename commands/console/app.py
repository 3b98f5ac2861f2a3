"""The console's screen, with Textual."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Input, Static

from commands import phrases
from commands.console.model import Entry, Model
from commands.screen.writing import one_line
from shared import bus

#: How often the console reads the bus, s, and how often it draws the meters.
READ_S, METERS_S = 0.05, 0.1
#: The most messages that it reads in one go: a flood must not hold up the keys.
AT_ONCE = 500
#: From this width on, the volume is named, columns.
WIDE = 60
#: One step of the volume, percent.
STEP = 10
#: How each entry is introduced, and its style.
LABELS = {
    "you": ("you", "cyan"),
    "assistant": ("assistant", "green"),
    "function": ("function", "magenta"),
    "cut": ("", "dim"),
    "fault": ("!", "yellow"),
    "note": ("", "dim"),
}

#: Sends a command through the door; returns whether it was done, and its outcome.
Send = Callable[[dict[str, Any]], tuple[bool, str]]


def render(entry: Entry) -> Text:
    """Return an entry as styled text. Nothing in it can change the terminal."""
    label, style = LABELS[entry.who]
    text = Text()
    if entry.who in ("cut", "note"):
        return text.append(f"  ({one_line(entry.text)})", style)
    text.append(f"{label}: " if label != "!" else "! ", f"bold {style}")
    text.append(one_line(entry.text))
    if entry.unheard:
        text.append(" ✂ ", "bold red")
        text.append(one_line(entry.unheard).strip(), "dim strike")
    return text


class Console(App[None]):
    """The conversation: state, meters, words, and a line to type in."""

    TITLE = "bargein"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #state { height: auto; max-height: 3; background: $primary-background; }
    #meters { height: 1; }
    #used { height: auto; }
    #words { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    #asking { height: auto; background: $warning; color: $text; display: none; }
    #words > Static { height: auto; }
    Input { height: 1; border: none; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "command('interrupt')", "interrupt", priority=True),
        Binding("ctrl+t", "talk", "talk", priority=True),
        Binding("ctrl+o", "mute", "mute", priority=True),
        Binding("ctrl+down,f5", "volume(-1)", "quieter", key_display="F5", priority=True),
        Binding("ctrl+up,f6", "volume(1)", "louder", key_display="F6", priority=True),
        Binding("ctrl+y", "answer('approve')", "approve", priority=True),
        Binding("ctrl+n", "answer('deny')", "deny", priority=True),
        Binding("pageup", "scroll(-1)", show=False, priority=True),
        Binding("pagedown", "scroll(1)", show=False, priority=True),
        Binding("ctrl+c,ctrl+q", "quit", "quit", key_display="^c", priority=True),
    ]

    def __init__(self, subscriber: bus.Subscriber, send: Send) -> None:
        super().__init__()
        self._subscriber = subscriber
        self._send = send
        self._model = Model()
        self._shown: dict[str, Static] = {}

    def compose(self) -> ComposeResult:
        """Return the parts of the screen, from top to bottom."""
        yield Static(id="state")
        yield Static(id="meters")
        yield Static(id="used")
        yield VerticalScroll(id="words", can_focus=False)
        yield Static(id="asking")
        yield Input(placeholder="type to the assistant, and press Enter")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to read the bus."""
        self.query_one("#words", VerticalScroll).anchor()
        self.query_one(Input).focus()
        self.set_interval(READ_S, self._read)
        self.set_interval(METERS_S, self._draw)
        self._draw()

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            delivery = self._subscriber.receive()
            if delivery is None:
                break
            self._model.take(delivery.topic, delivery.message, time.monotonic())
        self._model.tick(time.monotonic())
        self._show()

    def _show(self) -> None:
        words = self.query_one("#words", VerticalScroll)
        for entry in self._model.changes():
            static = self._shown.get(entry.key)
            if static is None:
                static = self._shown[entry.key] = Static(render(entry))
                words.mount(static, before=self._shown.get(entry.before))
            else:
                static.update(render(entry))
        for key in self._shown.keys() - self._model.entries.keys():
            self._shown.pop(key).remove()

    def _draw(self) -> None:
        model, now_s = self._model, time.monotonic()
        width = self.size.width
        state = Text(f" {one_line(model.state())}", "bold", no_wrap=True, overflow="ellipsis")
        self.query_one("#state", Static).update(state)
        switches = Text(f"  volume {model.volume} %" if width >= WIDE else f"  {model.volume} %")
        if model.muted:
            switches.append("  MUTED", "bold red")
        if model.talking:
            switches.append("  TALKING", "bold green")
        names = " you ", "  assistant "
        left = width - sum(map(len, names)) - len(switches)
        meter = max(2, min(20, width // 6, left // 2))  # The switches must be on the screen.
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(names[0]).append(model.you.bar(meter, now_s), "cyan")
        line.append(names[1]).append(model.assistant.bar(meter, now_s), "green")
        self.query_one("#meters", Static).update(line.append(switches))
        if model.usage is not None:
            used = f" used: {one_line(phrases.usage(model.usage, brief=True))}"
            self.query_one("#used", Static).update(Text(used, "dim"))
        asking, bar = model.asking, self.query_one("#asking", Static)
        bar.display = asking is not None
        if asking is not None:
            bar.update(Text(f" {one_line(asking.summary or asking.name)}: ^y approves, ^n denies"))

    # keys

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send the line that the person typed."""
        if text := event.value.strip():
            event.input.clear()
            self._do({"command": "type", "text": text})

    def action_command(self, name: str) -> None:
        """Send a command."""
        self._do({"command": name})

    def action_talk(self) -> None:
        """Press the button of push to talk, or release it: a terminal reports no key's release."""
        self.action_command("release" if self._model.talking else "talk")

    def action_mute(self) -> None:
        """Mute the microphone, or open it."""
        self.action_command("unmute" if self._model.muted else "mute")

    def action_volume(self, steps: int) -> None:
        """Change the volume."""
        value = min(100, max(0, self._model.volume + steps * STEP))
        self._do({"command": "volume", "value": value})

    def action_answer(self, command: str) -> None:
        """Approve or deny the first call that waits."""
        asking = self._model.asking
        if asking is None:
            self._tell("no function waits for an approval")
        else:
            self._do({"command": command, "id": asking.number or asking.call_id})

    def action_scroll(self, pages: int) -> None:
        """Scroll the conversation; at its end it follows again."""
        words = self.query_one("#words", VerticalScroll)
        words.scroll_page_up() if pages < 0 else words.scroll_page_down()

    def _do(self, command: dict[str, Any]) -> None:
        """Send a command on a thread of its own, and show its outcome."""

        def send() -> None:
            done, outcome = self._send(command)
            # A typed line and an interruption are entries of their own.
            if not (done and command["command"] in ("type", "interrupt")):
                self.call_from_thread(self._tell, outcome, fault=not done)

        self.run_worker(send, thread=True, group="door")

    def _tell(self, text: str, *, fault: bool = False) -> None:
        self._model.add("fault" if fault else "note", text)
        self._show()
