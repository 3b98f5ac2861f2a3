"""Pipecat for comparison: its local transport and its Realtime service, as in its examples.

``benchmarks.bargein --peer pipecat`` runs it with a Python that has ``pipecat-ai[openai,local]``.
It prints the time at which its service got ``speech_started``, in ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from loguru import logger
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    SessionProperties,
    TurnDetection,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.local.audio import LocalAudioTransport, LocalAudioTransportParams
from pipecat.workers.runner import WorkerRunner

RATE = 24_000


class Service(OpenAIRealtimeLLMService):  # type: ignore[misc]
    """The service, which also prints the time of the event."""

    async def _handle_evt_speech_started(self, evt: Any) -> None:
        print(f"event {time.monotonic_ns()}", flush=True)
        await super()._handle_evt_speech_started(evt)


async def converse(url: str, silence_ms: int) -> None:
    """Run the pipeline until it ends."""
    detection = TurnDetection(silence_duration_ms=silence_ms)
    audio = AudioConfiguration(input=AudioInput(turn_detection=detection))
    settings = Service.Settings(
        model="gpt-realtime", session_properties=SessionProperties(audio=audio)
    )
    service = Service(api_key="none", base_url=url, settings=settings)
    transport = LocalAudioTransport(
        LocalAudioTransportParams(audio_in_enabled=True, audio_out_enabled=True)
    )
    user, assistant = LLMContextAggregatorPair(LLMContext([{"role": "user", "content": "Begin."}]))
    worker = PipelineWorker(
        Pipeline([transport.input(), user, service, transport.output(), assistant]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )
    print("ready", flush=True)
    await worker.queue_frames([LLMRunFrame()])
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    asyncio.run(converse(sys.argv[1], int(sys.argv[2])))
