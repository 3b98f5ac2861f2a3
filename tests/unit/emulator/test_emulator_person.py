"""The real detector finds the turns of the demonstration's scripted person, and they are answered.

The test acts as a client on a simulated clock: it plays audio as it arrives, and truncates the
reply at the position that was played.
"""

from __future__ import annotations

import json

import soundfile

from services.emulator import sound
from services.emulator.options import VOICE, Options
from tests.support.emulator import Rig, of, one, voice

#: The end of the person's second turn, with the silence that ends it.
UNTIL_MS = 16_500
#: The bytes in 20 ms of audio.
FRAME = 20 * 48


def test_the_person_asks_talks_over_the_answer_and_hears_the_last_words_again() -> None:
    pcm = soundfile.read(VOICE / "person.opus", dtype="int16")[0].tobytes()[: UNTIL_MS * 48]
    script = json.loads((VOICE / "index.json").read_text())["person"]["utterances"][:2]
    rig = Rig(Options(), probability=sound.silero())
    rig.detect({"type": "server_vad", "silence_duration_ms": 500})
    began = rig.now
    events = []
    first_audio = 0.0
    told = 0
    for at in range(0, len(pcm), FRAME):
        came = rig.append(pcm[at : at + FRAME]) + rig.run(0.02)
        events += came
        if of(came, "response.output_audio.delta"):
            first_audio = first_audio or rig.now
        if of(came, "input_audio_buffer.speech_started") and first_audio:
            item = one(events, "response.output_item.added")["item"]["id"]
            told = int((rig.now - first_audio) * 1000)
            fields = {"item_id": item, "content_index": 0, "audio_end_ms": told}
            one(rig.send("conversation.item.truncate", **fields), "conversation.item.truncated")

    starts = of(events, "input_audio_buffer.speech_started")
    stops = of(events, "input_audio_buffer.speech_stopped")
    assert len(starts) == len(stops) == len(script)
    for spoken, start, stop in zip(script, starts, stops, strict=True):
        # The turn includes 300 ms of padding before the speech and 500 ms of silence after it.
        assert abs(start["audio_start_ms"] + 300 - spoken["start_ms"]) < 150
        assert abs(stop["audio_end_ms"] - 500 - spoken["end_ms"]) < 200
    onset = next(
        at
        for at, event in reversed(rig.sent)
        if isinstance(event, dict) and event["type"] == "input_audio_buffer.speech_started"
    )
    assert 0 < (onset - began) * 1000 - script[1]["start_ms"] < 250

    first, second = voice().index.replies[:2]
    heard = voice().say(first).heard(told)
    believed = [entry for entry in rig.journal if entry["kind"] == "interruption"]
    assert [entry["heard"] for entry in believed] == [heard]
    reply = [entry for entry in rig.journal if entry["kind"] == "reply"][-1]
    assert " ".join(heard.split()[-5:]) in reply["transcript"]
    assert reply["says"].endswith(f"+{second}")
