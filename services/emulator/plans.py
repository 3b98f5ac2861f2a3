"""The plan of a response: its content, and the tokens that the content counts as."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from services.emulator.clips import RATE, Utterance

#: Audio tokens per second, as the service bills them: one token for 50 ms of the assistant's audio
#: and one for 100 ms of the user's audio.
ASSISTANT_TOKENS_S: Final = 20
USER_TOKENS_S: Final = 10


@dataclass(frozen=True)
class Say:
    """A spoken item."""

    utterance: Utterance
    #: "commentary" or "final_answer" if the response has several items. The service sends this
    #: field, but the published types lack it.
    phase: str | None = None


@dataclass(frozen=True)
class Write:
    """A written item."""

    text: str


@dataclass(frozen=True)
class Call:
    """A function call."""

    name: str
    arguments: str
    call_id: str


@dataclass(frozen=True)
class McpCall:
    """A call of a function that the server runs itself, on an MCP server."""

    name: str
    arguments: str
    server_label: str
    #: The id of the request for the person's approval; None if the call needs none.
    request_id: str | None = None


@dataclass(frozen=True)
class McpAsk:
    """A request for the person's approval of a call."""

    call: McpCall


Part = Say | Write | Call | McpCall | McpAsk


@dataclass(frozen=True)
class Request:
    """A request for a response, completed from the session's settings."""

    modality: str
    voice: str
    format: dict[str, Any]
    max_output_tokens: int | str
    metadata: dict[str, str] | None = None
    #: The tokens of the items that the response answers.
    text_tokens: int = 0
    audio_tokens: int = 0

    def usage(self, text_tokens: int, audio_tokens: int) -> dict[str, Any]:
        """Return the ``usage`` of a response with these output tokens. No tokens are cached."""
        given = self.text_tokens + self.audio_tokens
        produced = text_tokens + audio_tokens
        none = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
        return {
            "total_tokens": given + produced,
            "input_tokens": given,
            "output_tokens": produced,
            "input_token_details": {
                "text_tokens": self.text_tokens,
                "audio_tokens": self.audio_tokens,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": none,
            },
            "output_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
        }


def audio_tokens(samples: int) -> int:
    """Return the tokens of ``samples`` of the assistant's audio, at 24 kHz."""
    return math.ceil(samples * ASSISTANT_TOKENS_S / RATE)
