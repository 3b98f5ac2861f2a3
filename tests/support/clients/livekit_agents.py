"""The client livekit-agents: a person asks for a function, and talks over the answer.

The arguments: the server's URL, and two files with the person's words, as PCM at 24 kHz.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai


def tell(**fields: object) -> None:
    """Print a line for the test."""
    print(json.dumps(fields), flush=True)


class Microphone(io.AudioInput):
    """Hears what it is given, twice as fast as real time."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        pcm = await self._frames.get()
        await asyncio.sleep(0.02)
        return rtc.AudioFrame(pcm, 24000, 1, len(pcm) // 2)

    def speak(self, file: str) -> None:
        """Queue a recording."""
        pcm = Path(file).read_bytes()
        for at in range(0, len(pcm), 1920):
            self._frames.put_nowait(pcm[at : at + 1920])


class Speaker(io.AudioOutput):
    """Plays into nothing, in real time."""

    def __init__(self) -> None:
        super().__init__(
            label="speaker", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24000
        )
        self.began = asyncio.Event()
        self.silenced = asyncio.Event()
        self._start = self._length = 0.0
        self._ending: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a frame."""
        await super().capture_frame(frame)
        if not self.began.is_set():
            self._start = time.monotonic()
        self._length += frame.duration
        self.began.set()

    def flush(self) -> None:
        """Note that the utterance is complete."""
        super().flush()
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        with suppress(TimeoutError):
            left = self._start + self._length - time.monotonic()
            await asyncio.wait_for(self.silenced.wait(), max(0.0, left))
        position = min(self._length, time.monotonic() - self._start)
        self.on_playback_finished(playback_position=position, interrupted=self.silenced.is_set())

    def clear_buffer(self) -> None:
        """Fall silent."""
        self.silenced.set()


@function_tool
async def horoscope(sign: str) -> str:
    """Return the horoscope of a sign."""
    tell(called=sign)
    return "You will meet a tall dark process."


async def main(url: str, question: str, interruption: str) -> None:
    """Hold the conversation."""
    base, _, query = url.partition("?")
    model = openai.realtime.RealtimeModel(
        api_key="any", base_url=base.removesuffix("/realtime"), model=query.removeprefix("model=")
    )
    async with AgentSession(llm=model) as session:
        session.input.audio = microphone = Microphone()
        session.output.audio = speaker = Speaker()
        session.on("error", lambda event: tell(error=str(event.error)))
        session.on(
            "function_tools_executed",
            lambda event: [tell(returned=out.output) for out in event.function_call_outputs],
        )
        await session.start(Agent(instructions="Help.", tools=[horoscope]))
        microphone.speak(question)
        await speaker.began.wait()
        microphone.speak(interruption)
        await speaker.silenced.wait()
        tell(interrupted=True)
        await asyncio.to_thread(sys.stdin.read)  # ends when the emulator has the truncate


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 20))
