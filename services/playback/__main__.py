"""The speaker: plays replies as they come, falls silent at a flush, and knows what was heard.

The device's callback owns the player. The loop only leaves it flushes (looked at first) and
stretches of audio, and takes away what was played; neither ever waits for the other.
"""

from __future__ import annotations

import time
from collections import deque

import msgspec

from services.playback.cues import Cues
from services.playback.duck import Duck
from services.playback.player import Player
from shared import messages, registry
from shared.audio import devices, pcm
from shared.audio.device import OutputDevice
from shared.audio.framing import Framer
from shared.audio.reopening import ReopeningDevice
from shared.bus import Delivery
from shared.run import run
from shared.stage import Stage

CHECK_S = 0.5
CUE_S = 0.1
#: How much is played until the playhead is told again: samples, 100 ms.
HEARD = 5 * pcm.FRAME
FRAMES = registry.of(messages.SpeakerFrame).name
#: Stretches taken by one callback at most: a long reply that comes at once takes several.
TAKEN_AT_ONCE = 128
#: Bytes left for the callback at most. It takes them in within a second: one that doesn't is stuck.
LEFT_AT_MOST = 64 * 1024 * 1024


class Playback:
    """One speaker, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        settings = stage.config.playback
        self._player = Player(
            0, pcm.ms_to_samples(settings.jitter_ms), pcm.ms_to_samples(settings.fade_ms)
        )
        self._duck = Duck(stage.config.interruption)
        self._fade_ns = settings.fade_ms * 1_000_000
        self._flushes: deque[tuple[messages.Flush, int, int]] = deque()  # with its and our time, ns
        self._audio: deque[messages.ReplyAudio] = deque()
        self._generation = 0  # of downlink, as it last said
        self._left = self._taken = 0  # bytes ever put there by the loop, and taken by the callback
        self._tones: deque[bytes] = deque()
        # with the time at the converter, ns, and the place in the stream, samples
        self._played: deque[tuple[bytes, int, int]] = deque()
        self._cuts: deque[messages.FlushReport] = deque()
        self._framer = Framer()
        self._untold = 0  # samples given to the device since the loop was woken for them
        self._unheard = 0  # the same, since the playhead was told
        self._stream = 0
        self._rendered = 0  # samples since the device's opening
        self._heard: messages.Heard | None = None
        self._moved = False  # the snapshot is a new one, which the loop is to tell
        self._snapshot = self._heard_now()
        stage.subscribe(messages.Flush, self._on_flush)
        stage.subscribe(messages.ReplyAudio, self._on_audio)
        stage.subscribe(messages.ReplyState, self._on_reply)
        if settings.cues:
            self._cues = Cues()
            stage.subscribe(messages.LinkState, self._on_link)
            stage.every(CUE_S, self._cue)
        stage.subscribe(messages.Speech, self._on_speech)
        stage.subscribe(messages.TurnDecision, self._on_turn_decision)
        stage.on_wake(self._take)
        stage.every(CHECK_S, self._check)
        self._reopening: ReopeningDevice[OutputDevice] = ReopeningDevice(
            stage, "speaker", self._begin
        )
        stage.log.info("waiting for reply.audio")
        # what the one before had queued is not played: who listens has to know
        self._publish_heard()

    def _begin(self) -> OutputDevice:
        device = devices.open_output(self._stage.config.playback.device)
        self._stream, self._rendered = time.time_ns() // 1000, 0
        self._framer.restart()
        self._played.clear()
        device.start(self._render)
        return device

    # on the device's thread

    def _render(self, samples: int, dac_ns: int) -> bytes:
        if self._flushes or self._audio or self._tones:
            self._apply_flushes_and_audio(dac_ns)
        player = self._player
        was_playing = player.playing
        duck = self._duck
        if duck.wanted or duck.level < 1.0:
            out = duck.render(player, samples, time.monotonic_ns())
        else:
            out = player.render(samples)
        if FRAMES in self._stage.publisher.subscribed:
            self._played.append((out, dac_ns, self._rendered))
        self._rendered += samples
        # the loop is told a frame at a time: a device may ask for less, some 200 times a second
        self._untold += samples
        due = self._untold >= pcm.FRAME
        if due:
            self._untold %= pcm.FRAME
        if was_playing:
            self._unheard += samples
            # its beginning and its end at once
            ends = not (player.playing and self._snapshot.playing)
            if ends or (due and self._unheard >= HEARD):
                self._unheard = 0
                self._snapshot = self._heard_now()
                self._moved = True
        if self._moved or self._cuts or (due and self._played):
            self._stage.wake()
        return out

    def _apply_flushes_and_audio(self, dac_ns: int) -> None:
        """Give the player what the loop left for it, flushes first."""
        player = self._player
        while self._flushes:
            flush, flush_ns, received_ns = self._flushes.popleft()
            cut = player.flush(flush.generation, flush.received, flush.interrupted)
            if cut is not None:
                self._cut(flush.generation, flush, flush_ns, received_ns, dac_ns, cut)
        for _ in range(min(len(self._audio), TAKEN_AT_ONCE)):
            frame = self._audio.popleft()
            self._taken += len(frame.payload)
            cut = player.push(frame)
            if cut:
                self._cut(frame.generation, None, 0, 0, dac_ns, cut)
        if self._tones:
            player.cue(self._tones.popleft())

    def _cut(
        self,
        generation: int,
        flush: messages.Flush | None,
        flush_ns: int,
        received_ns: int,
        dac_ns: int,
        items: list[messages.HeardItem],
    ) -> None:
        now = time.monotonic_ns()
        cause = flush.cause if flush else "lost flush"  # of which newer audio told
        self._cuts.append(
            messages.FlushReport(
                generation=generation,
                session=flush.session if flush else self._player.session,
                cause=cause,
                event_ns=flush.event_ns if flush else 0,
                flush_ns=flush_ns,
                received_ns=received_ns or now,
                silent_ns=now + (self._fade_ns if self._player.fading else 0),
                latency_ns=max(0, dac_ns - now),
                items=items[-64:],
                onset_ns=self._duck.onset_ns(cause, received_ns or now),
                ducked_ns=self._duck.ducked_ns,
            )
        )
        self._snapshot = self._heard_now()

    def _heard_now(self) -> messages.Heard:
        player = self._player
        return messages.Heard(
            generation=player.generation,
            session=player.session,
            playing=player.playing,
            items=player.items(),
        )

    # on the loop

    def _on_flush(self, delivery: Delivery[messages.Flush]) -> None:
        self._flushes.append((delivery.message, delivery.stamp.t, time.monotonic_ns()))
        self._duck.wanted = False
        self._without_device()

    def _on_speech(self, delivery: Delivery[messages.Speech]) -> None:
        speech, playing = delivery.message, self._snapshot.playing
        limit_ns = self._duck.hear(speech, playing=playing, now_ns=time.monotonic_ns())
        if limit_ns:
            self._stage.counters["ducks"] += 1
            self._stage.after(limit_ns / 1e9, lambda: self._duck.bring_back(speech.at_ns))

    def _on_turn_decision(self, delivery: Delivery[messages.TurnDecision]) -> None:
        if delivery.message.judged == "resume":
            self._duck.bring_back(delivery.message.onset_ns)

    def _on_reply(self, delivery: Delivery[messages.ReplyState]) -> None:
        self._generation = delivery.message.generation

    def _on_audio(self, delivery: Delivery[messages.ReplyAudio]) -> None:
        audio = delivery.message
        if audio.generation < self._generation and not audio.out_of_band:
            # it waited for us, and was flushed meanwhile: the flush itself may come later
            self._stage.count("flushed_meanwhile")
            return
        if self._left - self._taken > LEFT_AT_MOST:
            self._stage.count("unplayed", warning="the speaker takes nothing: audio was dropped")
            return
        self._audio.append(audio)
        self._left += len(audio.payload)
        self._without_device()

    def _on_link(self, delivery: Delivery[messages.LinkState]) -> None:
        self._cues.link(time.monotonic_ns(), is_open=delivery.message.state == "open")

    def _cue(self) -> None:
        if tone := self._cues.due(time.monotonic_ns()):
            self._tones.append(tone)

    def _without_device(self) -> None:
        """While there is no speaker there is no callback either: keep the accounts here."""
        if self._reopening.device is None:
            self._apply_flushes_and_audio(time.monotonic_ns())
            self._take()

    def _take(self) -> None:
        while self._cuts:
            self._publish_heard()
            self._stage.publish(self._cuts.popleft())
        if self._moved:
            self._moved = False
            self._publish_heard()
        while self._played:
            block, dac_ns, position = self._played.popleft()
            # where nobody has listened for a while, something is missing
            self._framer.skip_to(position)
            for frame, at, at_ns in self._framer.cut(block, dac_ns):
                self._stage.publish(
                    messages.SpeakerFrame(
                        stream=self._stream, position=at, played_ns=at_ns, payload=frame
                    )
                )

    def _publish_heard(self) -> None:
        heard = self._snapshot
        if heard != self._heard:
            self._heard = heard
            self._stage.publish(heard)

    def _check(self) -> None:
        player, counters = self._player, self._stage.counters
        counters["underruns"] = player.underruns
        counters["stale_samples"] = player.stale
        counters["gap_samples"] = player.gaps
        counters["overflow_samples"] = player.overflow
        if self._audio and self._heard is not None and not self._heard.playing:
            # a device that asks for nothing for a while: it is heard later
            self._heard = msgspec.structs.replace(self._heard, playing=True)
            self._stage.publish(self._heard)
        warning = self._reopening.device.warning() if self._reopening.device is not None else None
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
