"""The speaker: plays replies as they come, falls silent at a flush, and reports what was heard.

The device's callback (`callback.py`) owns the player. This loop reads the bus, hands flushes and
audio to the callback, and publishes what the callback played.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from services.playback.callback import Callback
from services.playback.cues import Cues
from services.playback.duck import Duck
from services.playback.remote import RemoteCallback
from services.playback.volume import gain
from shared import messages, now
from shared.audio import devices
from shared.audio.device import OutputDevice
from shared.audio.framing import Framer
from shared.audio.reopening import ReopeningDevice
from shared.bus import Delivery
from shared.run import run
from shared.stage import Stage

#: The time between two checks of the counters, and of a device that asks for nothing, s.
CHECK_S = 0.5
#: The time between two checks whether a tone is due, s: a tone may be this late.
CUE_S = 0.1
#: Seconds between two messages that tell when the device asked for samples.
CALLS_S = 0.1

M = TypeVar("M", bound=messages.Message)


class Playback:
    """One speaker, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._duck = Duck(stage.config.interruption)
        self._open_page: Callable[[], OutputDevice] | None = None
        parts = (stage.config, self._duck, stage.publisher, now.monotonic_ns, stage.wake)
        if stage.config.playback.device == "browser":
            from services.playback import browser  # noqa: PLC0415 - other devices need no server

            remote = RemoteCallback(*parts)
            self._callback: Callback = remote
            self._open_page = browser.serve(stage, remote)
        else:
            self._callback = Callback(*parts)
        # The generation that downlink published last, in reply.state. A flush is published on
        # another socket, so reply.state can be the first to name a new generation.
        self._generation = 0
        self._framer = Framer()
        self._stream = 0  # when the device was opened, µs since 1970; 0: never
        self._published: messages.Heard | None = None
        stage.subscribe(messages.Flush, self._noted(self._on_flush))
        stage.subscribe(messages.ReplyAudio, self._noted(self._on_audio))
        stage.subscribe(messages.ReplyState, self._noted(self._on_reply_state))
        self._cues = Cues(losses=stage.config.playback.cues)
        stage.subscribe(messages.LinkState, self._noted(self._on_link))
        stage.every(CUE_S, self._play_cue)
        stage.subscribe(messages.Speech, self._noted(self._on_speech))
        stage.subscribe(messages.TurnDecision, self._noted(self._on_turn_decision))
        stage.subscribe(messages.Panel, self._noted(self._on_panel))
        stage.on_wake(self._publish_played)
        stage.every(CALLS_S, self._publish_calls)
        stage.every(CHECK_S, self._check)
        self._reopening: ReopeningDevice[OutputDevice] = ReopeningDevice(
            stage, "speaker", self._open_device, self._prepare
        )
        stage.log.info("waiting for reply.audio")
        # Tell readers that the previous process's queue is gone and will not be played.
        self._publish_heard()

    def _noted(self, handler: Callable[[Delivery[M]], None]) -> Callable[[Delivery[M]], None]:
        """Return a handler that also notes that the message was handled."""
        calls = self._callback.calls

        def handle(delivery: Delivery[M]) -> None:
            handler(delivery)
            calls.handled(delivery.topic.name, delivery.stamp.t)

        return handle

    def _open_device(self) -> OutputDevice:
        spec = self._stage.config.playback.device
        return self._stage.replayed_speaker or devices.open_output(spec, self._open_page)

    def _prepare(self, device: OutputDevice) -> Callable[[], None]:
        self._stream = self._stage.next_number()
        self._framer.restart()
        self._callback.restart()
        return partial(device.start, self._callback.render)

    # messages

    def _on_flush(self, delivery: Delivery[messages.Flush]) -> None:
        self._callback.flush(delivery.message, delivery.stamp.t, now.monotonic_ns())
        self._duck.wanted = False
        self._apply_without_device()

    def _on_reply_state(self, delivery: Delivery[messages.ReplyState]) -> None:
        self._generation = delivery.message.generation

    def _on_audio(self, delivery: Delivery[messages.ReplyAudio]) -> None:
        audio = delivery.message
        if audio.generation < self._generation and not audio.out_of_band:
            # Stale: this audio waited in the queue while its generation was flushed. The flush
            # message may arrive after it, on its own socket.
            self._stage.count("flushed_meanwhile")
        elif self._callback.audio(audio):
            self._apply_without_device()
        else:
            self._stage.count("unplayed", warning="the speaker takes no audio: audio was dropped")

    def _on_speech(self, delivery: Delivery[messages.Speech]) -> None:
        speech, playing = delivery.message, self._callback.heard.playing
        now_ns = now.monotonic_ns()
        limit_ns = self._duck.vad_reported(speech, playing=playing, now_ns=now_ns)
        if limit_ns:
            self._stage.counters["ducks"] += 1
            due_ns = now_ns + limit_ns
            self._stage.after(limit_ns / 1e9, lambda: self._end_duck(speech.at_ns, due_ns))

    def _end_duck(self, onset_ns: int, due_ns: int) -> None:
        self._duck.bring_back(onset_ns)
        self._callback.calls.duck_timer_ended(due_ns)

    def _on_turn_decision(self, delivery: Delivery[messages.TurnDecision]) -> None:
        if delivery.message.judged == "scrap":
            self._duck.bring_back(delivery.message.onset_ns)

    def _on_panel(self, delivery: Delivery[messages.Panel]) -> None:
        self._callback.volume.wanted = gain(delivery.message.volume)

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        state = delivery.message.state
        now_ns = now.monotonic_ns()
        self._cues.link(now_ns, is_open=state == "open", asleep=state == "asleep")

    # timers and publishing

    def _play_cue(self) -> None:
        if tone := self._cues.due(now.monotonic_ns()):
            self._callback.tone(tone)

    def _apply_without_device(self) -> None:
        """Apply flushes and audio here while no device is open: then no callback runs."""
        if self._reopening.device is None:
            self._callback.apply_without_device(now.monotonic_ns())
            self._publish_played()

    def _publish_played(self) -> None:
        callback = self._callback
        while (report := callback.take_report()) is not None:
            self._publish_heard()
            self._stage.publish(report)
        if callback.take_heard_changed():
            self._publish_heard()
        while (block := callback.take_block()) is not None:
            audio, dac_ns, position = block
            # Blocks are only recorded while someone subscribes, so the stream can have gaps.
            self._framer.skip_to(position)
            for frame, at, played_ns in self._framer.cut(audio, dac_ns):
                self._stage.publish(
                    messages.SpeakerFrame(
                        stream=self._stream, position=at, played_ns=played_ns, payload=frame
                    )
                )

    def _publish_heard(self) -> None:
        heard = self._callback.heard
        if heard != self._published:
            self._published = heard
            self._stage.publish(heard)

    def _publish_calls(self) -> None:
        while calls := self._callback.calls.take():
            self._stage.publish(messages.SpeakerCalls(calls=calls))

    def _check(self) -> None:
        player, counters = self._callback.player, self._stage.counters
        counters["underruns"] = player.underruns
        counters["stale_samples"] = player.stale_samples
        counters["gap_samples"] = player.gap_samples
        counters["overflow_samples"] = player.overflow_samples
        published = self._published
        if self._callback.audio_waits and published is not None and not published.playing:
            # The device has not asked for a while. The audio will be heard once it asks again, so
            # downlink must not take it for abandoned.
            self._published = msgspec.structs.replace(published, playing=True)
            self._stage.publish(self._published)
        device = self._reopening.device
        if device is not None:
            counters["underflows"] = device.underflows
        warning = device.warning() if device is not None else None
        if warning:
            self._stage.count("device_warnings", warning=f"speaker: {warning}")


def main() -> int:
    """Run the stage."""
    return run(
        "playback",
        Playback,
        "Plays reply.audio and falls silent at a flush.",
        list_devices=lambda: devices.list_devices("output"),
    )


if __name__ == "__main__":
    raise SystemExit(main())
