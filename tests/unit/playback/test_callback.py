"""The callback's flush reports, and when the playhead is published."""

from __future__ import annotations

import pytest

from services.playback.callback import Callback
from services.playback.duck import Duck
from shared import messages
from shared.audio import pcm
from shared.config import Config

pytestmark = pytest.mark.unit

MS = 1_000_000


class Nobody:
    """Nobody subscribes to anything."""

    subscribed: frozenset[str] = frozenset()


def audio(samples: int, *, start: int = 0, last: bool = False) -> messages.ReplyAudio:
    return messages.ReplyAudio(
        generation=7,
        session=1,
        response_id="resp",
        item_id="item",
        content_index=0,
        start=start,
        last=last,
        payload=bytes(2 * samples),
    )


def test_the_end_of_an_item_that_was_played_out_is_published() -> None:
    callback = Callback(Config(), Duck(Config().interruption), Nobody(), lambda: 0, lambda: None)
    callback.audio(audio(pcm.FRAME * 4))
    for _ in range(6):
        callback.render(pcm.FRAME, 0)
    assert callback.take_heard_changed()
    assert (callback.heard.playing, callback.heard.items[0].done) == (False, False)
    callback.audio(audio(0, start=pcm.FRAME * 4, last=True))
    callback.render(pcm.FRAME, 0)
    assert callback.take_heard_changed()
    assert callback.heard.items[0].whole


@pytest.mark.parametrize(("cause", "reported"), [("judged", True), ("control", False)])
def test_only_a_flush_with_an_onset_reports_when_the_reply_was_ducked(
    cause: str, reported: bool
) -> None:
    now_ns = 1000 * MS
    duck = Duck(Config().interruption)
    callback = Callback(Config(), duck, Nobody(), lambda: now_ns, lambda: None)
    callback.audio(audio(pcm.RATE))
    callback.render(pcm.FRAME * 4, now_ns)
    duck.vad_reported(messages.Speech(speaking=True, at_ns=now_ns), playing=True, now_ns=now_ns)
    callback.render(pcm.FRAME, now_ns)
    assert duck.ducked_ns == now_ns
    flush = messages.Flush(
        generation=8,
        session=1,
        cause=cause,
        event_ns=now_ns,
        received=[],
        interrupted=[],
        active=[],
    )
    callback.flush(flush, now_ns, now_ns)
    callback.render(pcm.FRAME, now_ns)
    report = callback.take_report()
    assert report is not None
    assert (report.onset_ns, report.ducked_ns) == ((now_ns, now_ns) if reported else (0, 0))
