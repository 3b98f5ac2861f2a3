"""The client openai-agents: a person asks for a function, and talks over the answer.

The arguments: the server's URL, and two files with the person's words, as PCM at 24 kHz.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession


def tell(**fields: object) -> None:
    """Print a line for the test."""
    print(json.dumps(fields), flush=True)


@function_tool
def horoscope(sign: str) -> str:
    """Return the horoscope of a sign."""
    tell(called=sign)
    return "You will meet a tall dark process."


async def speak(session: RealtimeSession, pcm: bytes) -> None:
    """Send a recording, twice as fast as real time."""
    for at in range(0, len(pcm), 1920):
        await session.send_audio(pcm[at : at + 1920])
        await asyncio.sleep(0.02)


async def main(url: str, question: bytes, interruption: bytes) -> None:
    """Hold the conversation."""
    agent = RealtimeAgent(name="seer", instructions="Help.", tools=[horoscope])
    model = {"api_key": "any", "url": url}
    async with await RealtimeRunner(agent).run(model_config=model) as session:
        speaking = asyncio.create_task(speak(session, question))
        called = answered = False
        async for event in session:
            if event.type == "error":
                tell(error=str(event.error))
            elif event.type == "tool_end":
                called = True
                tell(returned=str(event.output))
            elif event.type == "audio" and called and not answered:
                answered = True
                await speaking
                speaking = asyncio.create_task(speak(session, interruption))
            elif event.type == "audio_interrupted" and called:
                tell(interrupted=True)
                break
        await asyncio.to_thread(sys.stdin.read)  # ends when the emulator has the truncate
        speaking.cancel()


SAID = [Path(file).read_bytes() for file in sys.argv[2:]]
asyncio.run(asyncio.wait_for(main(sys.argv[1], *SAID), 20))
