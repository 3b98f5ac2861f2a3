"""The openai package's client holds conversations with the emulator, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import soundfile
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from services.emulator.clips import Voice
from services.emulator.options import VOICE, Options
from services.emulator.server import Emulator, serve
from tests.support.asynchronous import PATIENCE_S, asynchronous
from tests.support.emulator import audio_of, kinds, of, one, validate

Event = dict[str, Any]
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"


class Talk:
    """A connection of the openai client, and every event that it received, validated."""

    def __init__(self, connection: AsyncRealtimeConnection, emulator: Emulator) -> None:
        self.connection = connection
        self.emulator = emulator
        self.events: list[Event] = []
        self._seen = 0
        self._came = asyncio.Condition()

    async def listen(self) -> None:
        """Receive and validate events until the connection is closed."""
        while True:
            raw = await self.connection.recv_bytes()
            event = json.loads(raw)
            validate(event)
            # The client's own parser must recognize the event, too.
            assert self.connection.parse_event(raw).type == event["type"]
            async with self._came:
                self.events.append(event)
                self._came.notify_all()

    async def until(self, kind: str, times: int = 1) -> list[Event]:
        """Wait for an event, and return all events since the last one that was waited for."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            while True:
                found = [
                    n
                    for n, event in enumerate(self.events)
                    if n >= self._seen and event["type"] == kind
                ]
                if len(found) >= times:
                    break
                await self._came.wait()
        first, self._seen = self._seen, found[times - 1] + 1
        return self.events[first : self._seen]

    async def hear(self, pcm: bytes, until: str | None = None) -> bytes:
        """Append audio in frames of 20 ms, ten times as fast as real time.

        Stop when a new event ``until`` arrives, and return the rest of the audio.
        """
        before = len(self.events)
        for at in range(0, len(pcm), 960):
            if until and of(self.events[before:], until):
                return pcm[at:]
            audio = base64.b64encode(pcm[at : at + 960]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            # Pause for a tenth of the frame's length, so that ``listen`` can receive the answers.
            await asyncio.sleep(0.002)
        return b""


@asynccontextmanager
async def talk(**changes: Any) -> AsyncIterator[Talk]:
    """Run an emulator, and connect the openai client to it."""
    options = Options(**{"url": "ws://127.0.0.1:0/v1/realtime", **changes})
    async with serve(options) as emulator:
        base = f"127.0.0.1:{emulator.port}/v1"
        client = AsyncOpenAI(
            api_key="any", base_url=f"http://{base}", websocket_base_url=f"ws://{base}"
        )
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            talking = Talk(connection, emulator)
            listening = asyncio.create_task(talking.listen())
            try:
                await talking.until("session.created")
                yield talking
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


def person() -> list[bytes]:
    """Return the scripted person's utterances, with 0.5 s of silence before and 1 s after each."""
    pcm, rate = soundfile.read(VOICE / "person.opus", dtype="int16")
    assert rate == 24000
    spoken = json.loads((VOICE / "index.json").read_text())["person"]["utterances"]
    margin = bytes(24000)
    return [
        margin + pcm[u["start_ms"] * 24 : u["end_ms"] * 24].tobytes() + 2 * margin for u in spoken
    ]


@asynchronous
async def test_a_spoken_conversation_with_an_interruption() -> None:
    first, second, *_ = person()
    index = Voice(VOICE).index
    # Half as fast as usual: on a busy machine the answer would end before the person interrupts it.
    async with talk(pace=2.0) as it:
        await it.connection.session.update(
            session={
                "type": "realtime",
                "audio": {
                    "input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}},
                    "output": {"voice": "cedar"},
                },
            }
        )
        updated = one(await it.until("session.updated"), "session.updated")
        assert updated["session"]["audio"]["output"]["voice"] == "cedar"

        # The person asks; the assistant answers aloud.
        await it.hear(first)
        turn = await it.until("response.created")
        assert kinds(turn) == [
            STARTED,
            STOPPED,
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
        ]
        start, end = one(turn, STARTED)["audio_start_ms"], one(turn, STOPPED)["audio_end_ms"]
        spoken_ms = len(first) / 48 - 1500
        # The turn includes 300 ms of padding before the speech and 500 ms of silence after it.
        assert abs((end - start) - (spoken_ms + 300 + 500)) < 300
        answer = await it.until("response.output_audio.delta", 8)
        item = one(answer, "response.output_item.added")["item"]["id"]

        # The person talks over the answer, and the client reports how much was heard.
        left = await it.hear(second, until=STARTED)
        burst = await it.until("response.done")
        assert kinds(burst[burst.index(one(burst, STARTED)) :]) == [
            STARTED,
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        cancelled = burst[-1]["response"]
        assert cancelled["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        await it.connection.conversation.item.truncate(
            item_id=item, content_index=0, audio_end_ms=1500
        )
        await it.until("conversation.item.truncated")

        # The next reply says so, and repeats the last words that were heard.
        await it.hear(left)
        await it.until("response.created")
        entries = {entry["kind"]: entry for entry in it.emulator.journal}
        heard = Voice(VOICE).say(index.replies[0]).heard(1500)
        assert entries["truncate"]["heard"] == entries["interruption"]["heard"] == heard
        assert entries["interruption"]["item_id"] == item
        last = " ".join(heard.split()[-5:])
        assert last in entries["reply"]["transcript"]
        spoken = await it.until("response.output_audio.delta", 40)
        transcript = "".join(
            e["delta"] for e in of(spoken, "response.output_audio_transcript.delta")
        )
        assert last in transcript


@asynchronous
async def test_the_greeting_is_spoken_and_can_be_retrieved_and_truncated() -> None:
    greeting = Voice(VOICE).say("greeting")
    async with talk(pace=0.0) as it:
        await it.connection.response.create()
        reply = await it.until("response.done")
        assert audio_of(reply) == greeting.read(0, greeting.samples)
        item = one(reply, "response.output_item.added")["item"]["id"]
        limits = one(await it.until("rate_limits.updated"), "rate_limits.updated")
        assert limits["rate_limits"][0]["name"] == "tokens"
        await it.connection.conversation.item.truncate(
            item_id=item, content_index=0, audio_end_ms=1000
        )
        await it.until("conversation.item.truncated")
        await it.connection.conversation.item.retrieve(item_id=item)
        got = one(await it.until("conversation.item.retrieved"), "conversation.item.retrieved")
        audio = base64.b64decode(got["item"]["content"][0]["audio"])
        assert audio == greeting.read(0, 24000)
        await it.connection.conversation.item.delete(item_id=item)
        await it.until("conversation.item.deleted")
        await it.connection.conversation.item.truncate(
            item_id=item, content_index=0, audio_end_ms=1, event_id="late"
        )
        error = one(await it.until("error"), "error")["error"]
        assert (error["code"], error["event_id"]) == ("item_truncate_invalid_item_id", "late")


@asynchronous
async def test_a_cancel_by_id_and_the_one_that_comes_too_late() -> None:
    async with talk(reply="tone:20") as it:
        await it.connection.response.create()
        created = one(await it.until("response.created"), "response.created")["response"]["id"]
        await it.until("response.output_audio.delta", 3)
        await it.connection.response.cancel(response_id=created)
        done = one(await it.until("response.done"), "response.done")["response"]
        assert (done["id"], done["status"]) == (created, "cancelled")
        assert done["usage"]["total_tokens"] > 0
        await it.connection.response.cancel(response_id=created)
        error = one(await it.until("error"), "error")["error"]
        assert error["code"] == "response_cancel_not_active"


@asynchronous
async def test_a_function_is_called_and_its_output_told() -> None:
    async with talk(pace=0.0) as it:
        await it.connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["text"],
                "tools": [
                    {
                        "type": "function",
                        "name": "horoscope",
                        "parameters": {
                            "type": "object",
                            "properties": {"sign": {"type": "string", "enum": ["Leo", "Virgo"]}},
                            "required": ["sign"],
                        },
                    }
                ],
            }
        )
        await it.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Use horoscope, please."}],
            }
        )
        await it.connection.response.create()
        done = one(await it.until("response.done"), "response.done")["response"]
        call = done["output"][0]
        assert (call["name"], json.loads(call["arguments"])) == ("horoscope", {"sign": "Leo"})
        await it.connection.conversation.item.create(
            item={
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": "You will meet a tall dark process.",
            }
        )
        await it.connection.response.create()
        done = one(await it.until("response.done"), "response.done")["response"]
        text = done["output"][0]["content"][0]["text"]
        assert text.endswith("You will meet a tall dark process.")


@asynchronous
async def test_a_response_out_of_band_beside_one_that_is_spoken() -> None:
    async with talk(reply="tone:3") as it:
        await it.connection.response.create()
        await it.until("response.output_audio.delta")
        await it.connection.response.create(
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"topic": "classification"},
                "input": [],
            }
        )
        created = one(await it.until("response.created"), "response.created")["response"]
        assert created["metadata"] == {"topic": "classification"}
        done = of(await it.until("response.done", 2), "response.done")
        assert {d["response"]["conversation_id"] is None for d in done} == {True, False}


@asynchronous
async def test_errors_leave_the_session_as_it_was() -> None:
    async with talk() as it:
        await it.connection.send_raw("this is not JSON")
        await it.connection.send_raw('{"type": "nope"}')
        await it.connection.send_raw(b"\x00\x01")
        await it.connection.session.update(
            session={"type": "realtime", "output_modalities": ["text", "audio"]}
        )
        await it.connection.input_audio_buffer.commit(event_id="mine")
        errors = [e["error"] for e in of(await it.until("error", 5), "error")]
        assert [e["code"] for e in errors] == [
            "invalid_json",
            "invalid_value",
            "invalid_event",
            "invalid_value",
            "input_audio_buffer_commit_empty",
        ]
        assert errors[-1]["event_id"] == "mine"
        await it.connection.response.create()
        await it.until("response.created")


@asynchronous
async def test_several_sessions_at_once_are_their_own() -> None:
    async def one_of_them(it: Talk) -> bytes:
        await it.connection.response.create()
        return audio_of(await it.until("response.done"))

    async with talk(pace=0.0) as first:
        base = f"127.0.0.1:{first.emulator.port}/v1"
        client = AsyncOpenAI(
            api_key="any", base_url=f"http://{base}", websocket_base_url=f"ws://{base}"
        )
        async with client, client.realtime.connect(model="gpt-realtime-2") as connection:
            second = Talk(connection, first.emulator)
            listening = asyncio.create_task(second.listen())
            said = await asyncio.gather(one_of_them(first), one_of_them(second))
            assert said[0] == said[1]
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
