"""What follows if the server's session is not what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink.objects import ServerError
from services.downlink.terms import Terms, Unusable
from shared.config import Config, Interruption, Session
from shared.realtime.session import in_force, wanted


def config(decide: Any = "server", **session: Any) -> Config:
    return Config(interruption=Interruption(decide=decide), session=Session(**session))


def told(settings: Config | None = None, **changed: Any) -> dict[str, Any]:
    """Return the session as asked for, with other turn detection, output or other fields."""
    made = wanted(in_force(settings or config()))
    for name, value in changed.items():
        if name in ("turn_detection", "transcription"):
            made["audio"]["input"][name] = value
        elif name in ("voice", "format"):
            made["audio"]["output"][name] = value
        else:
            made[name] = value
    return made


def refusal(param: str | None = None, code: str = "invalid_value", **more: Any) -> ServerError:
    return ServerError("No.", "invalid_request_error", code, param, **more)


def test_a_session_as_asked_for_needs_nothing() -> None:
    terms = Terms(config())
    terms.created({})
    terms.updated(told())
    assert terms.complaints() == []
    assert terms.remedies() == []
    assert (terms.refused, terms.apart) == ([], False)


# refusals


@pytest.mark.parametrize(
    ("param", "path"),
    [
        ("session.audio.output.voice", "audio.output.voice"),
        ("session.audio.output.voice.id", "audio.output.voice"),
        ("session.audio.input.turn_detection.threshold", "audio.input.turn_detection.threshold"),
        ("session.audio.input.turn_detection.type", "audio.input.turn_detection"),
        ("session.audio.input.turn_detection.unknown", "audio.input.turn_detection"),
        ("session.output_modalities[0]", "output_modalities"),
        ("session.type", "type"),
    ],
)
def test_the_refused_field_is_left_out(param: str, path: str) -> None:
    terms = Terms(config())
    line = terms.refuses(refusal(param, event_id="update_all"))
    assert line == f"the server refuses session.{path}, and goes on without: invalid_value: No."
    assert terms.refused == [path]
    # the same refusal again is no news
    assert terms.refuses(refusal(param)) == ""
    assert terms.complaints() == [f"the server refuses session.{path}"]


def test_a_model_that_is_refused_takes_the_object_along_that_it_belongs_to() -> None:
    terms = Terms(config(transcription_model="odd", language="en"))
    terms.refuses(refusal("session.audio.input.transcription.model"))
    assert terms.refused == ["audio.input.transcription"]


@pytest.mark.parametrize("param", [None, "session", "session.audio", "session.nothing_of_ours"])
def test_a_refusal_without_a_field_makes_the_fields_travel_alone(param: str | None) -> None:
    terms = Terms(config())
    line = terms.refuses(refusal(param, event_id="update_all"))
    assert line is not None
    assert line.endswith("each is sent on its own")
    assert terms.apart
    assert terms.refused == []
    # each update then names its field
    assert terms.refuses(refusal(event_id="update_audio.output.voice"))
    assert terms.refused == ["audio.output.voice"]


def test_a_voice_that_is_in_use_is_refused_for_this_session_only() -> None:
    terms = Terms(config())
    terms.refuses(refusal("session.instructions"))
    terms.refuses(refusal(code="cannot_update_voice", event_id="update_all"))
    assert terms.refused == ["instructions", "audio.output.voice"]
    terms.begin_session()
    assert terms.refused == ["instructions"]


@pytest.mark.parametrize(
    "error",
    [refusal(), refusal("item.content"), refusal("type"), refusal("response.voice"), ServerError()],
)
def test_any_other_error_is_no_refusal(error: ServerError) -> None:
    terms = Terms(config())
    assert terms.refuses(error) is None
    assert (terms.refused, terms.apart) == ([], False)


def test_a_field_that_was_refused_is_not_also_different() -> None:
    terms = Terms(config())
    terms.refuses(refusal("session.audio.output.voice"))
    terms.updated(told(voice="alloy"))
    assert terms.complaints() == ["the server refuses session.audio.output.voice"]


# differences


def test_another_voice_is_a_complaint_and_is_news_once() -> None:
    terms = Terms(config())
    terms.updated(told(voice="alloy"))
    [line] = terms.complaints()
    assert line == "the server's audio.output.voice is 'alloy', not 'marin'"
    assert terms.news([line]) == [line]
    terms.updated(told(voice="alloy"))
    assert terms.news(terms.complaints()) == []
    terms.updated(told())
    assert terms.complaints() == []


def test_a_new_session_that_says_nothing_is_not_complained_of() -> None:
    terms = Terms(config())
    terms.updated(told(voice="alloy"))
    terms.begin_session()
    assert terms.complaints() == []


@pytest.mark.parametrize("event", ["created", "updated"])
def test_another_rate_is_converted(event: str) -> None:
    terms = Terms(config())
    object_ = told(format={"type": "audio/pcm", "rate": 16_000})
    object_["audio"]["input"]["format"]["rate"] = 8000
    getattr(terms, event)(object_)
    assert (terms.output_rate, terms.input_rate) == (16_000, 8000)
    assert terms.complaints() == []
    assert terms.remedies() == [
        "the server sends audio at 16000 Hz: it is converted",
        "the server takes audio at 8000 Hz: it is converted",
    ]


@pytest.mark.parametrize("rate", [None, 0, -5, True, "16000", 5_000_000, 16_000.5])
def test_a_rate_that_cannot_be_is_not_believed(rate: Any) -> None:
    terms = Terms(config())
    terms.created(told(format={"type": "audio/pcm", "rate": rate}))
    assert terms.output_rate == 24_000


def test_another_kind_of_audio_ends_the_conversation() -> None:
    terms = Terms(config())
    terms.updated(told(format={"type": "audio/pcmu"}))
    with pytest.raises(Unusable, match=r"audio\.output\.format\.type is 'audio/pcmu'"):
        terms.complaints()


# who decides


def turns(**changed: Any) -> dict[str, Any]:
    detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    return detection | changed


def test_a_server_that_decides_although_the_client_should_is_followed() -> None:
    terms = Terms(config("client"))
    terms.updated(told(config("client"), turn_detection=turns()))
    assert terms.follows_server
    assert terms.server_answers
    [line] = terms.complaints()
    assert "interruption.decide = 'client' has no effect" in line


def test_a_server_that_only_answers_by_itself_is_asked_for_no_answer() -> None:
    terms = Terms(config("client"))
    terms.updated(told(config("client"), turn_detection=turns(interrupt_response=False)))
    assert not terms.follows_server
    assert terms.server_answers
    assert terms.complaints() == [
        "the server answers each turn by itself, so Bargein asks for no answer"
    ]


def test_a_server_that_says_nothing_about_it_does_as_it_was_asked() -> None:
    terms = Terms(config("client"))
    terms.updated(told(config("client"), turn_detection={"type": "server_vad"}))
    assert (terms.server_answers, terms.follows_server) == (False, False)
    assert terms.complaints() == []


def test_a_server_that_decides_as_it_should_is_no_complaint() -> None:
    terms = Terms(config())
    terms.updated(told())
    assert (terms.server_answers, terms.server_interrupts) == (False, False)


def test_a_server_that_obeys_an_update_later_is_no_longer_followed() -> None:
    terms = Terms(config("client"))
    terms.updated(told(config("client"), turn_detection=turns()))
    terms.updated(told(config("client")))
    assert not terms.follows_server
    assert terms.complaints() == []


def test_a_server_that_interrupts_despite_never_is_reported() -> None:
    terms = Terms(config("never"))
    terms.updated(told(config("never"), turn_detection=turns()))
    assert not terms.follows_server
    assert terms.complaints() == [
        "the server cancels a reply by itself when it hears somebody speak",
        "the server answers each turn by itself, so Bargein asks for no answer",
    ]


def test_push_to_talk_ends_if_the_server_keeps_its_turn_detection() -> None:
    terms = Terms(config("push_to_talk"))
    terms.updated(told(config("push_to_talk"), turn_detection=turns()))
    with pytest.raises(Unusable, match="so push to talk cannot work"):
        terms.complaints()
    terms.updated(told(config("push_to_talk")))
    assert terms.complaints() == []


@pytest.mark.parametrize(
    ("settings", "transcribes"),
    [(config(), True), (config(transcription_model="whisper-1"), False)],
)
def test_a_server_that_transcribes_unasked_is_noticed(settings: Config, transcribes: bool) -> None:
    terms = Terms(settings)
    terms.created(told(transcription={"model": "whisper-1"}))
    assert terms.transcribes is transcribes
