"""From a conversation's messages and log lines to the text on the screen. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commands import phrases
from commands.screen.captions import Caption, Captions, Cuts
from commands.screen.faults import Faults
from commands.screen.writing import CUT, Writer
from shared import messages, registry

#: How each side is called.
NAMES = {"user": "you", "assistant": "assistant"}
#: How long the assistant's words wait for those of the person that they answer, s: the server
#: transcribes a turn while it answers the turn.
WORDS_S = 2.0
#: How long they wait for the line that says that the conversation is ready, s: a greeting may begin
#: before the last stage has started.
READY_S = 3.0
#: This is said if the server does not transcribe the person, which it bills apart.
UNTRANSCRIBED = "(your own words are not shown: session.transcription_model is empty)"


class Display:
    """Turns messages and log lines into text to write."""

    def __init__(self, writer: Writer, *, ready: str, transcribes: bool) -> None:
        self._writer = writer
        self._ready = ready
        self._transcribes = transcribes  # whether the server is asked for the person's words
        self._captions = Captions()
        self._faults = Faults()
        self._ok: dict[str, bool] = {}  # whether each stage is well
        self._is_ready = False
        self._begun = False  # whether there was a caption
        self._waiting: dict[str, Caption] = {}  # of the assistant, until what belongs before them
        self._wait_until_s = 0.0  # how long they wait at most, s; 0: they do not
        self._cuts = Cuts()
        self._speaking = self._asleep = False
        self._asking: frozenset[str] = frozenset()  # the calls that wait for an approval
        self._usage: messages.Usage | None = None
        self._methods: dict[type[messages.Message], Callable[[Any, float], str]] = {
            messages.Transcript: self._transcript,
            messages.Heard: self._heard,
            messages.Interruption: self._interruption,
            messages.LinkState: self._link,
            messages.ReplyState: self._reply_state,
            messages.ToolState: self._tool_state,
            messages.ToolResult: self._tool_result,
            messages.Usage: self._usage_changed,
        }

    def take(self, topic: registry.Topic, message: messages.Message, now_s: float) -> str:
        """Return what to write after a message."""
        if isinstance(message, messages.Health):
            self._ok[topic.publisher] = message.ok
            return self._show(self._faults.health(topic.publisher, message, now_s)) + self._begin()
        method = self._methods.get(type(message))
        return method(message, now_s) if method else ""

    def process(self, kind: str, name: str, text: str, now_s: float) -> str:
        """Return what to write after a line of a process, or of the launcher about a process."""
        if kind == "log":
            self._faults.logged(name, text, now_s)
        elif kind == "raw":
            self._faults.raw(name, text)
        else:
            return self._show([f"{name} {self._faults.ended(name, text)}"])
        return ""

    def note(self, text: str) -> str:
        """Return the text that writes a line of the display's own."""
        return self._writer.line(text, "note")

    def tick(self, now_s: float) -> str:
        """Return what to write as time passes; to be called a few times a second."""
        out = self._show(self._faults.due(now_s))
        if self._wait_until_s and now_s > self._wait_until_s:
            out += self._go_on()
        return out + self._show_cuts(now_s)

    def end(self) -> str:
        """Return what to write at the end of the conversation."""
        out = self._go_on() + self._show_cuts(float("inf")) + self._show(self._faults.rest())
        if self._usage is not None and self._usage.conversation.responses:
            out += self._writer.line(f"used: {phrases.usage(self._usage)}", "note")
        return out + self._writer.end()

    # messages

    def _transcript(self, message: messages.Transcript, now_s: float) -> str:
        out = self._show_captions(self._captions.transcript(message), now_s)
        if message.role == "user" and message.final:
            out += self._go_on()
        return out + self._show_cuts(now_s)

    def _heard(self, message: messages.Heard, now_s: float) -> str:
        return self._show_captions(self._captions.heard(message), now_s)

    def _interruption(self, message: messages.Interruption, now_s: float) -> str:
        self._cuts.take(message, now_s)
        return self._go_on() + self._show_cuts(now_s)

    def _link(self, message: messages.LinkState, now_s: float) -> str:
        before, self._asleep = self._asleep, message.state == "asleep"
        out = self._show(self._faults.link(message, now_s))
        if self._asleep and not before:
            out += self._writer.line(phrases.link(message), "note")
        elif before and message.state == "open":
            out += self._writer.line("awake again", "note")
        # The session after a sleep is opened in several steps.
        self._asleep = self._asleep or (before and message.state != "open")
        return out + self._begin()

    def _reply_state(self, message: messages.ReplyState, now_s: float) -> str:
        before, self._speaking = self._speaking, message.speaking
        if before and not message.speaking and self._transcribes:
            self._wait_until_s = now_s + WORDS_S
        return ""

    def _tool_state(self, message: messages.ToolState, _now_s: float) -> str:
        before, asking = self._asking, [run for run in message.calls if run.state == "asking"]
        self._asking = frozenset(run.call_id for run in asking)
        return self._show([phrases.asks(run) for run in asking if run.call_id not in before])

    def _tool_result(self, message: messages.ToolResult, _: float) -> str:
        if not (said := phrases.output(message)):
            return ""
        return self._go_on() + self._writer.line(f"  (function {message.name}: {said})", "note")

    def _usage_changed(self, message: messages.Usage, _now_s: float) -> str:
        self._usage = message
        return ""

    # what they result in

    def _begin(self) -> str:
        """Return the line that says that the conversation is ready, once."""
        if self._is_ready or not self._faults.is_open:
            return ""
        if not all(self._ok.get(stage, False) for stage in registry.STAGES):
            return ""
        self._is_ready = True
        out = self._writer.line(self._ready, "ready")
        if not self._transcribes:
            out += self._writer.line(UNTRANSCRIBED, "note")
        return out + self._go_on()

    def _show_cuts(self, now_s: float) -> str:
        due = self._cuts.due(self._captions, now_s)
        return "".join(
            self._writer.line(f"  ({phrases.interruption(record)})", "note") for record in due
        )

    def _show_captions(self, captions: list[Caption], now_s: float) -> str:
        out = ""
        if captions and not self._is_ready and not self._begun:
            self._begun, self._wait_until_s = True, now_s + READY_S
        for caption in captions:
            if caption.role == "assistant" and (self._wait_until_s or self._waiting):
                self._waiting[caption.item_id] = caption
            else:
                out += self._show_caption(caption)
        return out

    def _go_on(self) -> str:
        """Show the assistant's words that waited for those of the person."""
        self._wait_until_s = 0.0
        waiting, self._waiting = self._waiting, {}
        return "".join(map(self._show_caption, waiting.values()))

    def _show_caption(self, caption: Caption) -> str:
        text = f"{caption.text} {CUT}" if caption.unheard and caption.text else caption.text
        return self._writer.caption(caption.item_id, NAMES[caption.role], text, over=caption.over)

    def _show(self, faults: list[str]) -> str:
        return "".join(self._writer.line(f"! {fault}", "fault") for fault in faults)
