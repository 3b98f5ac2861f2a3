"""The server's events that the kit gives to a downlink, and what the downlink publishes of them."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any

import numpy as np

from commands.check.bench import Bench
from commands.check.common import Check
from shared import messages
from shared.audio.pcm import RATE


class ServerReplies(Check):
    """The check of a stage that reads the server's events: the kit is its link and its server."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.session = 0
        self._numbers = itertools.count(1)

    # what the server says

    def _open(self) -> None:
        self.session = max(self.session + 1, time.time_ns() // 1000)
        self.bench.publish(
            messages.LinkState(
                state="open", session=self.session, opened_ns=time.monotonic_ns(), sent=1
            )
        )
        self.bench.publish(
            messages.Heard(generation=0, session=self.session, playing=False, items=[])
        )
        self._event("session.created", session={"type": "realtime"})

    def _event(self, kind: str, **fields: Any) -> None:
        self._text(json.dumps({"type": kind, "event_id": f"e{next(self._numbers)}", **fields}))

    def _text(self, text: str) -> None:
        self.bench.publish(
            messages.ServerEvent(
                session=self.session, received_ns=time.monotonic_ns(), payload=text.encode()
            )
        )

    def _begin(self, *, out_of_band: bool = False) -> tuple[str, str]:
        """Begin a response. Return its id and the id of its item."""
        number = next(self._numbers)
        response, item = f"resp_{number}", f"item_{number}"
        conversation = None if out_of_band else "conv_1"
        self._event(
            "response.created",
            response={"id": response, "status": "in_progress", "conversation_id": conversation},
        )
        self._event(
            "conversation.item.added",
            item={"id": item, "type": "message", "role": "assistant", "content": []},
        )
        return response, item

    def _delta(self, response: str, item: str, pcm: bytes) -> None:
        self._event(
            "response.output_audio.delta",
            response_id=response,
            item_id=item,
            output_index=0,
            content_index=0,
            delta=base64.b64encode(pcm).decode(),
        )

    def _done(self, response: str, item: str, *, out_of_band: bool = False) -> None:
        self._event(
            "response.output_audio.done",
            response_id=response,
            item_id=item,
            output_index=0,
            content_index=0,
        )
        conversation = None if out_of_band else "conv_1"
        self._event(
            "response.done",
            response={"id": response, "status": "completed", "conversation_id": conversation},
        )

    # what downlink says

    def _chunks(self, item: str) -> list[messages.ReplyAudio]:
        return [a for a in self.bench.all(messages.ReplyAudio) if a.item_id == item]

    def _pcm(self, item: str) -> bytes:
        return b"".join(chunk.payload for chunk in self._chunks(item))

    def _flushes(self, since: int) -> list[messages.Flush]:
        return self.bench.all(messages.Flush, since)

    def _noise(self, seconds: float) -> bytes:
        chance = np.random.default_rng(next(self._numbers))
        return chance.integers(-9000, 9000, round(seconds * RATE)).astype(np.int16).tobytes()
