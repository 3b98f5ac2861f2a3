"""The emulator's connections: which are accepted, what ends one, and that none delays another."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Origin, Subprotocol

from services.emulator.options import BadOption, Faults, Options
from services.emulator.server import Emulator, serve
from tests.support.asynchronous import PATIENCE_S, asynchronous
from tests.support.emulator import audio_of, kinds, of, validate

Event = dict[str, Any]


@asynccontextmanager
async def emulator(**changes: Any) -> AsyncIterator[Emulator]:
    """Run an emulator on a free port."""
    async with serve(Options(**{"url": "ws://127.0.0.1:0/v1/realtime", **changes})) as running:
        yield running


def model(running: Emulator, query: str = "model=gpt-realtime") -> str:
    return f"{running.url}?{query}"


async def events(client: ClientConnection, until: str) -> list[Event]:
    """Receive events up to the first of this type, and return them."""
    came: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        while not came or came[-1]["type"] != until:
            came.append(json.loads(await client.recv()))
            validate(came[-1])
    return came


async def refusal(url: str, **headers: Any) -> tuple[str, int, str]:
    """Connect and be refused. Return the error's code, and the close's code and reason."""
    async with connect(url, **headers) as client, asyncio.timeout(PATIENCE_S):
        error = json.loads(await client.recv())
        validate(error)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        return error["error"]["code"], closed.value.rcvd.code, closed.value.rcvd.reason


@asynchronous
async def test_a_key_is_asked_for_where_it_is_set() -> None:
    async with emulator(keys=("right", "also")) as it:
        wrong = ("invalid_api_key", 3000, "invalid_request_error.invalid_api_key")
        bearer = {"Authorization": "Bearer wrong"}
        assert await refusal(model(it)) == wrong
        assert await refusal(model(it), additional_headers=bearer) == wrong
        for accepted in (
            {"additional_headers": {"Authorization": "Bearer right"}},
            {"additional_headers": {"api-key": "also"}},
            {"subprotocols": [Subprotocol("realtime"),
                              Subprotocol("openai-insecure-api-key.right")]},
        ):  # fmt: skip
            async with connect(model(it), **accepted) as client:
                await events(client, "session.created")
        azure = f"ws://127.0.0.1:{it.port}/openai/v1/realtime?model=gpt-realtime&api-key=right"
        async with connect(azure) as client:
            await events(client, "session.created")


@asynchronous
async def test_a_wrong_request_is_refused_after_the_upgrade() -> None:
    async with emulator() as it:
        kind = "invalid_request_error"
        for query, code in (
            ("", "missing_model"),
            ("model=", "missing_model"),
            ("model=gpt-4", "invalid_model"),
            ("model=gpt-realtime&intent=transcription", "invalid_intent"),
        ):
            assert await refusal(model(it, query)) == (code, 4000, f"{kind}.{code}")
        beta = {"OpenAI-Beta": "realtime=v1"}
        code = "beta_api_shape_disabled"
        assert await refusal(model(it), additional_headers=beta) == (code, 4000, f"{kind}.{code}")


@asynchronous
async def test_other_paths_are_refused_at_the_upgrade() -> None:
    async with emulator() as it:
        for path, status in (
            ("/v2/realtime?model=gpt-realtime", 404),
            ("/openai/v1/realtime?api-version=2025-04-01-preview&model=gpt-realtime", 401),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{it.port}{path}")
            assert refused.value.response.status_code == status


@asynchronous
async def test_a_page_in_a_browser_is_refused_unless_it_is_named() -> None:
    async with emulator(origins=("https://mine.example",)) as it:
        for page in ("https://evil.example", "null", f"http://localhost:{it.port + 1}"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(model(it), origin=Origin(page))
            assert refused.value.response.status_code == 403
        # The browser resolves a name of the page's own to this machine.
        there = model(it).replace("127.0.0.1", "evil.example")
        with pytest.raises(InvalidStatus) as refused:
            await connect(there, host="127.0.0.1", port=it.port)
        assert refused.value.response.status_code == 403
        for origin in ("https://mine.example", f"http://127.0.0.1:{it.port}"):
            async with connect(model(it), origin=Origin(origin)) as client:
                await events(client, "session.created")


@asynchronous
async def test_the_server_pings_with_four_bytes_and_does_not_mind_silence() -> None:
    pings: list[bytes] = []
    enough = asyncio.Event()

    class Client(ClientConnection):
        def process_event(self, event: Any) -> None:
            if isinstance(event, Frame) and event.opcode is Opcode.PING:
                pings.append(bytes(event.data))
                if len(pings) == 3:
                    enough.set()
            super().process_event(event)

    async with (
        emulator(ping_s=0.05) as it,
        connect(model(it), create_connection=Client, ping_interval=None) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        await enough.wait()
        # The server also answers the client's pings.
        await (await client.ping())
    assert {len(ping) for ping in pings} == {4}


def test_the_real_interval_is_that_of_the_service() -> None:
    assert Options().ping_s == 20.3


@asynchronous
async def test_a_server_with_one_slot_lets_the_second_client_in_and_closes() -> None:
    full = ("session_limit_reached", 1008, "invalid_request_error.session_limit_reached")
    async with emulator(faults=Faults(slots=1)) as running:
        async with connect(model(running)) as client:
            await events(client, "session.created")
            assert await refusal(model(running)) == full
            # The session that has the slot goes on.
            await client.send(json.dumps({"type": "input_audio_buffer.clear"}))
            await events(client, "input_audio_buffer.cleared")
        # The slot is not free at once.
        assert await refusal(model(running)) == full
        begun = ""
        async with asyncio.timeout(PATIENCE_S):
            while begun != "session.created":
                async with connect(model(running)) as client:
                    begun = json.loads(await client.recv())["type"]


@asynchronous
async def test_a_session_expires_with_an_error_and_a_close() -> None:
    async with emulator(expire_s=0.2) as it, connect(model(it)) as client:
        *_, error = await events(client, "error")
        assert error["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        reason = "Your session hit the maximum duration of 60 minutes."
        assert closed.value.rcvd.reason == reason


@asynchronous
async def test_the_connection_is_reset_in_mid_reply() -> None:
    async with (
        emulator(reply="tone:8", faults=Faults(drop_after_ms=1000)) as it,
        connect(model(it)) as client,
    ):
        await client.send('{"type": "response.create"}')
        with pytest.raises(ConnectionClosedError) as closed:
            await events(client, "response.done")
        # There was no close frame: the connection broke.
        assert closed.value.rcvd is None
        assert isinstance(closed.value.__cause__, ConnectionResetError)


@asynchronous
async def test_garbage_is_really_sent_and_the_session_goes_on() -> None:
    faults = Faults(garbage=("json", "event", "binary"))
    async with (
        emulator(reply="tone:0.5", pace=0.0, faults=faults) as it,
        connect(model(it)) as client,
    ):
        await client.send('{"type": "response.create"}')
        came: list[str | bytes] = []
        async with asyncio.timeout(PATIENCE_S):
            while not came or b"response.done" not in _bytes(came[-1]):
                came.append(await client.recv())
    assert [m for m in came if isinstance(m, bytes)] == [b"\x00\xff\x00\xff"]


def _bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


@asynchronous
async def test_a_burst_of_three_minutes_is_sent_whole() -> None:
    async with (
        emulator(reply="clip:long", pace=0.0) as it,
        connect(model(it), max_size=None, compression=None) as client,
    ):
        await client.send('{"type": "response.create"}')
        came = await events(client, "response.done")
        assert len(audio_of(came)) / 48000 > 180


@asynchronous
async def test_a_burst_of_audio_does_not_hold_up_what_is_being_said() -> None:
    """The detector needs a second for the 16 s of noise that the client sends at once."""
    noise = base64.b64encode(os.urandom(16 * 48000)).decode()
    append = json.dumps({"type": "input_audio_buffer.append", "audio": noise})
    async with (
        emulator(reply="tone:30") as it,
        # The short timeout is for the close: unread messages would delay it.
        connect(model(it), compression=None, close_timeout=0.1) as busy,
        connect(model(it), compression=None, close_timeout=0.1) as other,
    ):
        await busy.send('{"type": "response.create"}')
        await events(busy, "response.output_audio.delta")
        await events(other, "session.created")
        began = time.monotonic()
        await busy.send(append)
        await busy.send('{"type": "input_audio_buffer.clear"}')
        # Meanwhile the server answers another session, and goes on speaking in this one.
        await other.send('{"type": "response.create"}')
        await events(other, "response.output_audio.delta")
        answered = time.monotonic() - began
        meanwhile = await events(busy, "input_audio_buffer.cleared")
        heard = time.monotonic() - began
        assert of(meanwhile, "response.output_audio.delta")
        assert answered < heard / 2


@asynchronous
async def test_the_first_answer_does_not_wait_for_the_voice() -> None:
    """The first delta takes a small part of the time that decoding the whole reply takes."""
    async with emulator(reply="clip:long") as it, connect(model(it)) as client:
        await events(client, "session.created")
        began = time.monotonic()
        await client.send('{"type": "response.create"}')
        await events(client, "response.output_audio.delta")
        first = time.monotonic() - began
    async with emulator(reply="clip:long", pace=0.0) as it, connect(model(it)) as client:
        await events(client, "session.created")
        began = time.monotonic()
        await client.send('{"type": "response.create"}')
        await events(client, "response.done")
        whole = time.monotonic() - began
    assert first < whole / 8


@asynchronous
async def test_a_client_that_breaks_off_leaves_the_server_as_it_was() -> None:
    async with emulator(reply="tone:8") as it:
        client = await connect(model(it))
        await client.send('{"type": "response.create"}')
        await events(client, "response.output_audio.delta")
        client.transport.abort()
        async with connect(model(it)) as next_one:
            assert kinds(await events(next_one, "session.created")) == ["session.created"]


@asynchronous
async def test_stopping_closes_what_is_open() -> None:
    async with emulator(reply="tone:8") as it:
        client = await connect(model(it))
        await client.send('{"type": "response.create"}')
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionClosed) as closed:
            await events(client, "never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


@asynchronous
async def test_the_journal_is_written_as_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    async with (
        emulator(reply="tone:2", pace=0.0, journal=path, skew_ms=0) as it,
        connect(model(it)) as client,
    ):
        await client.send('{"type": "response.create"}')
        came = await events(client, "response.done")
        item = of(came, "response.output_item.added")[0]["item"]["id"]
        fields = {"item_id": item, "content_index": 0, "audio_end_ms": 1250}
        await client.send(json.dumps({"type": "conversation.item.truncate", **fields}))
        await events(client, "conversation.item.truncated")
        written = [json.loads(line) for line in path.read_text().splitlines()]
        assert list(it.journal) == written
    assert [entry["kind"] for entry in written] == ["opened", "reply", "truncate"]
    assert written[2]["audio_end_ms"] == 1250
    assert written[2]["item_ms"] == 2000
    assert written[2]["heard"] == "0 500 1000—"


@asynchronous
async def test_a_missing_clip_is_reported_at_the_start() -> None:
    with pytest.raises(BadOption, match="no clip named 'nope'"):
        await emulator(reply="clip:nope").__aenter__()
