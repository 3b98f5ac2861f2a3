"""The client pipecat-ai: a person asks for a function, and talks over the answer.

The arguments: the server's URL, and two files with the person's words, as PCM at 24 kHz.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner


def tell(**fields: object) -> None:
    """Print a line for the test."""
    print(json.dumps(fields), flush=True)


class Speaker(FrameProcessor):
    """Plays into nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.called = False
        self.began = asyncio.Event()
        self.silenced = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take a frame."""
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            tell(error=frame.error)
        if isinstance(frame, TTSAudioRawFrame) and self.called:
            self.began.set()
        if isinstance(frame, InterruptionFrame) and self.began.is_set():
            self.silenced.set()
        await self.push_frame(frame, direction)


async def main(url: str, question: bytes, interruption: bytes) -> None:
    """Hold the conversation."""
    speaker = Speaker()

    async def horoscope(call: FunctionCallParams) -> None:
        tell(called=call.arguments["sign"])
        speaker.called = True
        result = "You will meet a tall dark process."
        await call.result_callback(result)
        tell(returned=result)

    service = OpenAIRealtimeLLMService(api_key="any", base_url=url.partition("?")[0])
    service.register_function("horoscope", horoscope)
    schema = FunctionSchema(
        "horoscope", "Return the horoscope of a sign.", {"sign": {"type": "string"}}, ["sign"]
    )
    context = LLMContext([], ToolsSchema([schema]))
    aggregators = LLMContextAggregatorPair(context)
    pipeline = Pipeline([aggregators.user(), service, speaker, aggregators.assistant()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=24000))

    async def speak(pcm: bytes) -> None:
        """Send a recording, twice as fast as real time."""
        for at in range(0, len(pcm), 1920):
            await worker.queue_frame(InputAudioRawFrame(pcm[at : at + 1920], 24000, 1))
            await asyncio.sleep(0.02)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await worker.queue_frame(LLMRunFrame())
    await speak(question)
    await speaker.began.wait()
    speaking = asyncio.create_task(speak(interruption))
    await speaker.silenced.wait()
    tell(interrupted=True)
    await asyncio.to_thread(sys.stdin.read)  # ends when the emulator has the truncate
    speaking.cancel()
    await worker.cancel()
    await running


logger.remove()
logger.add(sys.stderr, level="WARNING")
SAID = [Path(file).read_bytes() for file in sys.argv[2:]]
asyncio.run(asyncio.wait_for(main(sys.argv[1], *SAID), 20))
