"""Devices are unplugged during a reply, which goes on with other devices and is cut exactly."""

from __future__ import annotations

import pytest

from harness import speech
from harness.accounts import SpeakerSound, Tones
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE
from shared import messages

pytestmark = pytest.mark.sound

TONE_S = 30
#: The most audio that the unplugged speaker may have taken and not played, ms. It is lost, or the
#: sound server plays it again on the new speaker.
TAKEN_MS = 40
TOLERANCE_MS = 5


def test_devices_are_unplugged_and_the_defaults_are_others() -> None:
    if reason := SoundServer.unavailable():
        pytest.skip(reason)
    # Without ducking: the end of a ducked tone would be too soft to find.
    settings = {"session.greeting": "Begin.", "interruption.duck": "off"}
    replies = ("--reply", f"tone:{TONE_S}", "--skew", "0")
    with SoundServer() as server:
        for name in ("headphones", "headset"):
            options = f"sink_name={name} rate={RATE} channels=1 channel_map=mono format=s16le"
            server.pactl("load-module", "module-null-sink", *options.split(), "norewinds=1")
        with (
            server.record() as speaker,
            server.record("headphones") as ear,
            Pipeline(env=server.env, settings=settings, emulator=replies) as run,
        ):
            run.bus.wait_for(messages.Heard, lambda h: bool(h.items) and h.items[0].heard > RATE)
            server.pactl("set-default-sink", "headphones")
            server.pactl("set-default-source", "headset.monitor")
            for line in server.pactl("list", "short", "modules").splitlines():
                if "sink_name=speaker" in line or "sink_name=mic " in line:
                    server.pactl("unload-module", line.split()[0])
            # Either the sound server moves the streams to the new devices, or the stages open them.
            begin = ear.wait_for_sound()
            ear.wait_for(lambda heard: len(heard) > begin + RATE)
            # The new microphone hears the person, who talks over the reply.
            server.play(speech.person(0), sink="headset")
            [told] = run.wait_for_journal("truncate")
            end = ear.wait_for_silence(0.2, after=begin)
    [played] = Tones(TONE_S).places([SpeakerSound(0.0, ear.audio[: end + RATE // 10])])
    assert told["ok"]
    assert told["audio_end_ms"] == pytest.approx(played.last_ms, abs=TOLERANCE_MS)
    # At most the audio that the old speaker had taken is lost, or comes twice.
    [before] = Tones(TONE_S).places([SpeakerSound(0.0, speaker.audio)])
    first_ms = (begin / RATE - played.begun_s) * 1000
    assert abs(first_ms - before.last_ms) < TAKEN_MS
