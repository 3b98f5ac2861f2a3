"""One of our own stages, made to break one rule of ``bargein check``.

``python -m tests.support.broken_stage STAGE RULE [arguments of the stage]`` changes what the stage
publishes, or what it is given, and then runs it.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import websocket
from msgspec.structs import replace

from shared import bus, messages
from shared.audio.pcm import FRAME
from shared.stage import Stage

#: Returns the messages that a stage publishes in place of one message.
Published = Callable[[Any], Iterable[messages.Message]]
#: Returns the message that a stage is given in place of another, or None for none.
Given = Callable[[Stage, Any], Any]


@dataclass
class Memory:
    """The state that a break remembers from one message to the next."""

    count: int = 0
    generation: int = 0
    session: int = 0
    late: list[messages.ReplyAudio] = field(default_factory=list)


_seen = Memory()


def _rate(m: Any) -> Iterable[messages.Message]:
    if isinstance(m, messages.MicFrame):
        _seen.count += 1
        if _seen.count % 2:
            return []
        return [replace(m, position=(_seen.count // 2 - 1) * FRAME)]
    return [m]


def _hears_somebody(stage: Stage, frame: messages.MicClean) -> messages.MicClean:
    _seen.count += 1
    for speaking in (True, False) if _seen.count == 1 else ():
        stage.publish(messages.Speech(speaking=speaking, at_ns=frame.captured_ns))
    return frame


def _first_generation(m: Any) -> Any:
    _seen.generation = _seen.generation or m.generation
    return replace(m, generation=_seen.generation)


def _first_session(m: Any) -> Any:
    _seen.session = _seen.session or m.session
    return replace(m, session=_seen.session)


def _goes_on(m: Any) -> Iterable[messages.Message]:
    """Publish an interrupted response's audio once more."""
    if isinstance(m, messages.ReplyAudio):
        _seen.late[:] = [m] if not m.out_of_band else _seen.late
    if isinstance(m, messages.ReplyState) and _seen.generation:
        return [m, *_seen.late]
    if isinstance(m, messages.Flush):
        _first_generation(m)
    return [m]


def _this_session(_: Stage, event: Any) -> Any:
    return replace(event, session=_seen.session)


def _link_session(m: Any) -> Iterable[messages.Message]:
    if isinstance(m, messages.LinkState):
        _seen.session = m.session
    return [m]


def _event(m: Any, kind: str) -> bool:
    return isinstance(m, messages.ClientEvent) and f'"{kind}"'.encode() in m.payload


def _truncate(m: Any) -> messages.ClientEvent:
    text = b'{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":1}'
    return messages.ClientEvent(session=m.session, payload=text)


def _is(kind: type[messages.Message], change: Callable[[Any], Any]) -> Published:
    """Change the messages of a type."""
    return lambda m: [change(m)] if isinstance(m, kind) else [m]


def _without(drop: Callable[[Any], object]) -> Published:
    return lambda m: [] if drop(m) else [m]


def _every_seventh(m: Any) -> bool:
    _seen.count += _event(m, "input_audio_buffer.append")
    return _event(m, "input_audio_buffer.append") and _seen.count % 7 == 0


LOUD = (b"\x00\x10\x00\xf0") * (FRAME // 2)

#: The changes of published messages, by stage and rule.
PUBLISHED: dict[tuple[str, str], Published] = {
    ("capture", "rate"): _rate,
    ("capture", "frames"): _is(
        messages.MicFrame, lambda m: replace(m, position=m.position + m.position // FRAME % 2)
    ),
    ("capture", "captured_ns"): _is(
        messages.MicFrame, lambda m: replace(m, captured_ns=time.monotonic_ns())
    ),
    ("echo", "one for one"): _without(
        lambda m: isinstance(m, messages.MicClean) and m.position == 7 * FRAME
    ),
    ("echo", "person"): _is(messages.MicClean, lambda m: replace(m, payload=bytes(FRAME * 2))),
    ("echo", "lost frames"): _is(
        messages.MicClean,
        lambda m: replace(m, payload=LOUD) if 20 <= m.position // FRAME < 23 else m,
    ),
    ("echo", "frames"): _is(
        messages.MicClean, lambda m: replace(m, captured_ns=m.captured_ns - 9_000_000_000)
    ),
    ("vad", "onset"): _is(
        messages.Speech,
        lambda m: replace(m, at_ns=m.at_ns - 1_000_000_000) if m.speaking else m,
    ),
    ("vad", "goes on"): _is(messages.Speech, lambda m: replace(m, until_ns=m.at_ns)),
    ("vad", "end"): _without(lambda m: isinstance(m, messages.Speech) and not m.speaking),
    ("uplink", "configures"): _without(lambda m: _event(m, "session.update")),
    ("uplink", "appends"): _without(_every_seventh),
    ("uplink", "truncates"): lambda m: [m, m] if _event(m, "conversation.item.truncate") else [m],
    ("uplink", "deletes"): _without(lambda m: _event(m, "conversation.item.delete")),
    ("uplink", "whole"): lambda m: (
        [m, _truncate(m)]
        if isinstance(m, messages.Interruption) and m.reports[0].action == "none"
        else [m]
    ),
    ("uplink", "record"): _without(lambda m: isinstance(m, messages.Interruption)),
    ("uplink", "next session"): _is(messages.ClientEvent, _first_session),
    ("link", "opens"): _is(messages.LinkState, lambda m: replace(m, opened_ns=0)),
    ("link", "down"): _is(messages.ServerEvent, lambda m: replace(m, payload=m.payload + b" ")),
    ("link", "session"): _link_session,
    ("link", "reconnects"): _is(
        messages.LinkState, lambda m: m if m.cause == "renewed" else replace(m, cause="")
    ),
    ("downlink", "audio"): _is(messages.ReplyAudio, lambda m: replace(m, start=m.start + 1)),
    ("downlink", "last"): _is(messages.ReplyAudio, lambda m: replace(m, last=False)),
    ("downlink", "transcript"): _is(messages.Transcript, lambda m: replace(m, final=False)),
    ("downlink", "flush"): _is(messages.Flush, lambda m: replace(m, interrupted=[])),
    ("downlink", "generation"): _is(messages.Flush, _first_generation),
    ("downlink", "interrupted"): _goes_on,
    ("downlink", "next reply"): _is(messages.ReplyAudio, _first_generation),
    ("downlink", "out of band"): _is(messages.ReplyAudio, lambda m: replace(m, out_of_band=False)),
}


def _speaks_early(stage: Stage, frame: messages.MicClean) -> messages.MicClean:
    _seen.count += 1
    if _seen.count == 1:
        text = b'{"type":"input_audio_buffer.append","audio":""}'
        stage.publish(messages.ClientEvent(session=0, payload=text))
    return frame


def _crash(_: Stage, event: messages.ServerEvent) -> messages.ServerEvent:
    if event.payload[:1] != b"{":
        raise RuntimeError("not an event")
    return event


#: The changes of messages that the stage is given, by stage and rule.
GIVEN: dict[tuple[str, str], tuple[type[messages.Message], Given]] = {
    ("vad", "silence"): (messages.MicClean, _hears_somebody),
    ("uplink", "waits"): (messages.MicClean, _speaks_early),
    ("link", "session"): (messages.ClientEvent, _this_session),
    ("link", "expired"): (messages.ClientEvent, lambda _, m: replace(m, expires_ns=0)),
    ("link", "renews"): (messages.Renew, lambda *_: None),
    ("downlink", "control"): (messages.Control, lambda *_: None),
    ("downlink", "bad events"): (messages.ServerEvent, _crash),
}

#: The arguments with which a broken stage is started, by stage and rule.
ARGUMENTS = {
    ("uplink", "late"): ["--set=uplink.max_age_ms=60000"],
}

#: Breaks of what link writes to the server, which no message shows.
WRITTEN = {("link", "up"), ("link", "pings")}

BREAKS = sorted({*PUBLISHED, *GIVEN, *ARGUMENTS, *WRITTEN})


def main() -> None:
    """Run a stage that breaks a rule."""
    stage, rule, *arguments = sys.argv[1:]
    key = stage, rule
    publish, subscribe, send = Stage.publish, Stage.subscribe, websocket.WebSocket.send

    published = PUBLISHED.get(key, _without(lambda _: False))

    def publish_changed(self: Stage, message: messages.Message) -> int:
        at_ns = 0
        for changed in published(message):
            at_ns = publish(self, changed)
        return at_ns

    def subscribe_changed(self: Stage, kind: Any, handler: Any, topic: str | None = None) -> None:
        changed, give = GIVEN.get(key, (None, None))

        def handle(delivery: bus.Delivery[Any]) -> None:
            message = give(self, delivery.message) if give else delivery.message
            if message is not None:
                handler(replace(delivery, message=message))

        subscribe(self, kind, handle if kind is changed else handler, topic)

    def send_changed(self: websocket.WebSocket, data: bytes, opcode: int = 1) -> int:
        if rule == "pings":
            return 0 if opcode == websocket.ABNF.OPCODE_PING else int(send(self, data, opcode))
        text = opcode == websocket.ABNF.OPCODE_TEXT
        return int(send(self, data + b" " if text else data, opcode))

    Stage.publish = publish_changed  # type: ignore[method-assign]
    Stage.subscribe = subscribe_changed  # type: ignore[method-assign]
    if key in WRITTEN:
        websocket.WebSocket.send = send_changed  # type: ignore[method-assign, assignment]
    sys.argv[1:] = [*ARGUMENTS.get(key, []), *arguments]
    runpy.run_module(f"services.{stage}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
