"""Every setting of [session]: the API's types and the emulator take it, and it can be changed."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import RealtimeSessionCreateRequest

from services.downlink import comparison
from services.emulator import settings as emulated
from services.emulator.schema import Refused
from services.emulator.session_fields import SESSION
from shared import config
from shared.config import Session
from shared.realtime import session
from tests.support.openai_types import unknown_fields

pytestmark = pytest.mark.contract

#: Each setting with another value than its default, and what the session object has then.
SET: list[tuple[dict[str, Any], str, Any]] = [
    ({"voice": "voice_1234"}, "audio.output.voice", {"id": "voice_1234"}),
    ({"voice": "cedar"}, "audio.output.voice", "cedar"),
    ({"output_modalities": ["text"]}, "output_modalities", ["text"]),
    ({"speed": 1.25}, "audio.output.speed", 1.25),
    ({"max_output_tokens": 300}, "max_output_tokens", 300),
    ({"reasoning_effort": "xhigh"}, "reasoning", {"effort": "xhigh"}),
    ({"truncation": "disabled"}, "truncation", "disabled"),
    (
        {"truncation": "retention_ratio", "retention_ratio": 0.5, "retention_tokens": 8000},
        "truncation",
        {
            "type": "retention_ratio",
            "retention_ratio": 0.5,
            "token_limits": {"post_instructions": 8000},
        },
    ),
    ({"tool_choice": "required"}, "tool_choice", "required"),
    ({"tool_choice": "now"}, "tool_choice", {"type": "function", "name": "now"}),
    ({"parallel_tool_calls": "off"}, "parallel_tool_calls", False),
    ({"tracing": "auto"}, "tracing", "auto"),
    (
        {"tracing": "auto", "tracing_workflow": "w", "tracing_metadata": {"room": "kitchen"}},
        "tracing",
        {"workflow_name": "w", "metadata": {"room": "kitchen"}},
    ),
    (
        {"noise_reduction": "far_field", "noise_strength": 0.5},
        "audio.input.noise_reduction",
        {"type": "far_field", "strength": 0.5},
    ),
    (
        {
            "transcription_model": "gpt-transcribe",
            "transcription_prompt": "A cook.",
            "transcription_keywords": ["bain-marie"],
            "transcription_languages": ["de", "fr"],
            "transcription_delay": "low",
            "language": "de",
        },
        "audio.input.transcription",
        {
            "model": "gpt-transcribe",
            "prompt": "A cook.",
            "keywords": ["bain-marie"],
            "languages": ["de", "fr"],
            "delay": "low",
        },
    ),
    (
        {"transcription_model": "gpt-transcribe", "language": "de"},
        "audio.input.transcription",
        {"model": "gpt-transcribe", "language": "de"},
    ),
    (
        {"transcription_model": "gpt-transcribe", "transcription_logprobs": True},
        "include",
        ["item.input_audio_transcription.logprobs"],
    ),
]
every = pytest.mark.parametrize(("given", "path", "value"), SET, ids=lambda each: str(each)[:60])
PLAIN = session.wanted(Session())


def new() -> dict[str, Any]:
    return emulated.default("sess_1", "gpt-realtime-2.1", 0)


def applied(told: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the emulator's session after the updates of a change."""
    for path, value in session.changes(before, after):
        told = emulated.updated(told, session.alone(path, value), spoken=False)
    return told


@every
def test_it_is_in_the_session_as_the_api_has_it(
    given: dict[str, Any], path: str, value: Any
) -> None:
    asked = session.wanted(Session(**given))
    assert session.at(asked, path) == value
    parsed = RealtimeSessionCreateRequest.model_validate(asked, strict=True)
    assert unknown_fields(parsed) == []
    told = emulated.updated(new(), asked, spoken=False)
    assert list(comparison.differences(asked, comparison.nested(told))) == []


@every
def test_a_server_that_has_it_otherwise_is_noticed(
    given: dict[str, Any], path: str, value: Any
) -> None:
    asked = session.wanted(Session(**given))
    told = comparison.nested(emulated.updated(new(), PLAIN, spoken=False))
    found = [each.path for each in comparison.differences(asked, told)]
    # Null and a missing field say nothing about what a server does, unless it is a feature.
    if session.at(told, path) if path != "reasoning" and path in dict(session.fields(told)) else 0:
        assert any(each.startswith(path) for each in found)


@every
def test_it_can_be_changed_and_changed_back_in_a_running_session(
    given: dict[str, Any], path: str, value: Any
) -> None:
    asked = session.wanted(Session(**given))
    begun = emulated.updated(new(), PLAIN, spoken=False)
    changed = applied(begun, PLAIN, asked)
    assert list(comparison.differences(asked, comparison.nested(changed))) == []
    if path == "tracing":
        # The API cannot switch a trace off again, and says so.
        with pytest.raises(Refused):
            applied(changed, asked, PLAIN)
        return
    back = applied(changed, asked, PLAIN)
    back.setdefault("parallel_tool_calls", True)
    back.pop("reasoning", None)
    begun.setdefault("parallel_tool_calls", True)
    assert back == begun


def test_a_transcription_that_loses_a_field_forgets_it() -> None:
    before = session.wanted(Session(transcription_model="m", transcription_prompt="A cook."))
    after = session.wanted(Session(transcription_model="m"))
    told = emulated.updated(new(), before, spoken=False)
    assert applied(told, before, after)["audio"]["input"]["transcription"] == {"model": "m"}


def test_the_instructions_name_the_language() -> None:
    asked = session.wanted(Session(instructions="Be brief.", language="de"))
    assert asked["instructions"].startswith("Be brief.\n\n")
    assert "'de'" in asked["instructions"]


def test_a_reload_leaves_what_needs_a_restart_as_it_was() -> None:
    before = Session(speed=1.0, input_rate=24_000)
    followed, said = session.reloaded(before, Session(speed=1.2, input_rate=16_000))
    assert said == "changed in [session]: speed; after bargein restart: input_rate"
    assert followed == Session(speed=1.2, input_rate=24_000)
    different = dict(session.changes(session.wanted(before), session.wanted(followed)))
    assert different == {"audio.output.speed": 1.2}
    assert session.reloaded(followed, followed) == (followed, "nothing in [session] has changed")


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        ("session.speed=3", "(accepted: 0.25 to 1.5)"),
        ("session.max_output_tokens=5000", "(accepted: 0 to 4096)"),
        ("session.reasoning_effort=huge", '(accepted: "auto", "minimal", "low",'),
        ("session.truncation=none", '(accepted: "auto", "disabled", "retention_ratio")'),
        (
            'session.output_modalities=["video"]',
            '(accepted: "audio", "text", in a list such as ["audio"])',
        ),
        ('session.output_modalities=["audio", "text"]', 'expected ["audio"] or ["text"]'),
        ("session.noise_strength=-1", "(accepted: 0 to 1)"),
        ("session.parallel_tool_calls=true", '(accepted: "auto", "on", "off")'),
        ("session.transcription_delay=none", '(accepted: "auto", "minimal",'),
        ("session.transcription_logprobs=maybe", "(accepted: true, false)"),
        ("session.turn_detection.create_response=1", "(accepted: true, false)"),
        ("session.transcription_keywords=Fresnel", '(accepted: a list of texts, such as ["one",'),
        ("session.transcription_languages=[1]", "(accepted: a list of texts"),
        ("session.tracing_metadata=kitchen", "(accepted: a table, such as { name = value })"),
        ("session.mcp=docs", "(accepted: a list of tables)"),
        ('session.mcp=[{label="a b"}]', "(accepted: 1 to 64 letters, digits, _ or -)"),
        ('session.mcp=[{label="a", uri="x"}]', "(accepted: label, url, connector, headers,"),
        (
            'session.mcp=[{label="a", require_approval="ask"}]',
            '(accepted: "always", "never", or a table such as',
        ),
        (
            'session.mcp=[{label="a", require_approval={allways={tool_names=["a"]}}}]',
            '(accepted: "always", "never", or a table such as',
        ),
        ("session.tool_choice=", "(accepted: auto, none, required, the name of a function, or"),
        ("session.tool_choice=now and then", "(accepted: auto, none, required,"),
        ("session.turn_detection.idle_timeout_ms=4000", "expected 0 (off) or 5000 to 30000"),
        ("prices.date=today", '(accepted: such as "2026-11-27")'),
        ('prices.models={"m"={input=1}}', "(accepted: input_text, cached_text,"),
        ('prices.models={"m"={minute=-1}}', "(accepted: 0 to 1000000)"),
        ("link.project=my project", "(accepted: at most 512 letters, digits and signs"),
        ("link.connect_timeout_s=0", "(accepted: 0 to 3600 without 0)"),
    ],
)
def test_an_error_names_the_accepted_values(setting: str, accepted: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.resolve(config.FILE, {}, [setting])
    assert accepted in str(caught.value)


def test_the_emulator_refuses_what_the_service_refuses() -> None:
    for wrong in (
        {"speed": 9.0},
        {"max_output_tokens": 0},
        {"reasoning": {"effort": "huge"}},
        {"tool_choice": "sometimes"},
        {"truncation": {"type": "retention_ratio"}},
        {"include": ["everything"]},
    ):
        path = {"speed": "audio.output.speed"}.get(next(iter(wrong)), next(iter(wrong)))
        with pytest.raises(Refused) as refused:
            SESSION(session.alone(path, next(iter(wrong.values()))), "session")
        assert (refused.value.param or "").startswith(f"session.{path}")
