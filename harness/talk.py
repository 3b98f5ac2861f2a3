"""A conversation in which faults happen: its person, its faults and its recordings."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from harness import recordings as recorded
from harness import speech
from harness.accounts import Ledger, Played, SpeakerSound, Tones
from harness.ears import Ear
from harness.proxy import Proxy
from harness.pulse import SoundServer
from harness.soundbench import Pipeline, PipelineError
from services.downlink import abandoned
from shared import messages, registry
from shared.audio import pcm

TONE_S = 3.0
#: The server sends audio only 1.5 times as fast as real time, so that a fault happens while audio
#: still arrives.
PACE = 1.5
#: A question that is not answered within this time (s) is asked again, at most this often.
AGAIN_S, TIMES = 5.0, 5
PATIENCE_S = 20.0
STOPPED_S = 2.0
#: How long an uplink that was started again may take to tell the server how far the last answer was
#: heard, from the next answer on, s: it waits 0.5 s for a report that may have been lost.
REPORTED_S = 3.0
#: The person in a file asks and talks over the answer, except over every third answer.
FILE_S, GAPS_S = 900.0, (2.9, 2.9, 5.6)


class Talk:
    """A conversation, its person, and the faults that can happen to it."""

    def __init__(self, stack: ExitStack, server: SoundServer | None, directory: Path) -> None:
        self._server = server
        self._ear: Ear | None = None
        self._ears: list[Ear] = []
        self._stack = stack
        options = ["--reply", f"tone:{TONE_S:g}", "--pace", f"{PACE:g}", "--skew", "0"]
        self.emulator = stack.enter_context(Pipeline(stages=(), emulator=options))
        self.proxy = stack.enter_context(Proxy(self.emulator.url))
        settings: dict[str, object] = {
            "session.turn_detection.silence_duration_ms": 200,
            "session.turn_detection.prefix_padding_ms": 100,
            "session.transcription_model": "whisper-1",
            # The pitch tells how far a tone was heard. It cannot be read where the tone is ducked.
            "interruption.duck": "off",
            "link.ping_interval_s": 0.3,
            "link.pong_timeout_s": 1.2,
        }
        if server is None:
            said, at, gaps = [], 0.3, cycle(GAPS_S)
            while at < FILE_S - 10:
                said.append((at, recorded.QUESTION))
                at += next(gaps)
            person = recorded.microphone(directory / "person.wav", said, FILE_S)
            settings |= {"capture.device": person, "playback.device": "null"}
        else:
            self._listen()
        env = server.env if server else {}
        self.run = stack.enter_context(Pipeline(env=env, settings=settings, server=self.proxy.url))
        self.ledger = Ledger(self.run.bus_directory, keep_sound=server is None)
        stack.callback(self.ledger.close)
        self.tones = Tones(TONE_S)
        self.in_vain = 0  # how often the person talked over a reply without an interruption

    # the person

    @property
    def asks(self) -> bool:
        """Whether the person speaks on command (not from a file)."""
        return self._server is not None

    def ask(self) -> None:
        """Let the person ask something. A person in a file speaks anyway."""
        if self._server is not None:
            self._server.hush()
            self._server.play(speech.person(0))

    def answer(self, known: set[str]) -> messages.HeardItem:
        """Wait until a new item is heard. Raises PipelineError if none is."""
        heard = self.run.bus.wait_for(
            messages.Heard,
            lambda h: any(i.heard and i.item_id not in known for i in h.items),
            after=max(0, self._mark),
            timeout=AGAIN_S if self._server else PATIENCE_S,
        )
        return next(i for i in heard.items if i.heard and i.item_id not in known)

    def known(self) -> set[str]:
        """Return the items heard so far, and from now on look only at later messages."""
        heard = self.run.bus.all(messages.Heard)
        self._mark = len(heard)
        return {i.item_id for h in heard for i in h.items if i.heard}

    _mark = 0

    def wait_until_heard(self, item_id: str, seconds: float) -> None:
        """Wait until this much of an item was heard, or until it was cut or replaced."""
        wanted = round(min(seconds, TONE_S - 0.2) * pcm.RATE)
        self.run.bus.wait_for(
            messages.Heard,
            lambda h: (
                not h.playing
                or h.items[-1].item_id != item_id
                or any(i.item_id == item_id and i.heard >= wanted for i in h.items)
            ),
            after=max(0, len(self.run.bus.all(messages.Heard)) - 1),
        )

    def wait_until_silent(self) -> None:
        """Wait until nothing plays."""
        after = max(0, len(self.run.bus.all(messages.Heard)) - 1)
        self.run.bus.wait_for(messages.Heard, lambda h: not h.playing, after=after)

    def wait_until_told(self) -> None:
        """Wait until the server knows which audio nobody will hear, that of the last reply too."""
        end_ns = time.monotonic_ns() + abandoned.QUIET_NS + 2_000_000_000
        while time.monotonic_ns() < end_ns:
            # Playback publishes its playhead every second.
            self.run.bus.wait_for(messages.Heard, after=len(self.run.bus.all(messages.Heard)))

    def wait_until_reported(self) -> None:
        """Wait until uplink has decided what to tell the server about each item that was cut.

        If uplink was killed, that is after it was started again, and the server may have begun the
        next answer by then. An item of a session that is over is not reported any more.
        """
        end = time.monotonic() + REPORTED_S
        while time.monotonic() < end:
            heard = self.run.bus.all(messages.Heard)
            reported = {
                report.item_id
                for record in self.run.bus.all(messages.Interruption)
                for report in record.reports
            }
            if all(i.whole or not i.cut or i.item_id in reported for i in heard[-1].items):
                return
            # Playback publishes its playhead every second.
            self.run.bus.wait_for(messages.Heard, after=len(heard))

    def interrupt(self) -> None:
        """Talk over the reply, again if nothing happens, and return when it was flushed."""
        after = len(self.run.bus.all(messages.Flush))
        for left in reversed(range(TIMES if self.asks else 1)):
            self.ask()
            try:
                self.run.bus.wait_for(
                    messages.Flush, after=after, timeout=AGAIN_S if self.asks else PATIENCE_S
                )
                return
            except PipelineError:
                # A canceller that has just started lets nothing through for some seconds.
                if not left:
                    raise
                self.in_vain += 1

    # the faults

    def kill(self, stage: str) -> None:
        """Kill a stage and start it again."""
        before = len(self.run.bus.all(messages.Health, f"{stage}.health"))
        self.run.kill_stage(stage)
        self.run.start_stage(stage)
        pid = self.run.pid(stage)
        topic = f"{stage}.health"
        self.run.bus.wait_for(messages.Health, lambda h: h.pid == pid, topic=topic, after=before)

    def stop(self, stage: str) -> None:
        """Stop a stage for two seconds."""
        self.run.stop_stage(stage)
        time.sleep(STOPPED_S)
        self.run.continue_stage(stage)

    def busy(self) -> None:
        """Reset the connection, and answer the next attempts with an error."""
        self.proxy.answer("502 Bad Gateway", 2)
        self.proxy.reset()

    def restart_sound(self) -> None:
        """Remove both devices, and bring them back."""
        assert self._server is not None
        self._server.restart()
        self._listen()

    def faults(self) -> dict[str, Callable[[], None]]:
        """Return the faults by name."""
        made: dict[str, Callable[[], None]] = {}
        for stage in registry.STAGES:
            made[f"kill {stage}"] = partial(self.kill, stage)
            made[f"stop {stage}"] = partial(self.stop, stage)
        made |= {
            "connection closed": lambda: self.proxy.say_close(1011, "oops"),
            "connection reset": self.proxy.reset,
            "connection frozen": self.proxy.freeze,
            "server busy": self.busy,
        }
        if self._server is not None:
            made["sound server restarted"] = self.restart_sound
        return made

    # what was played, and what the server believes

    def _listen(self) -> None:
        assert self._server is not None
        self._ears.append(self._stack.enter_context(self._server.record()))

    def played(self) -> list[Played]:
        """Return the replies that were played at the speaker."""
        if self._server is None:
            return self.tones.places(self.ledger.recordings())
        return self.tones.places([SpeakerSound(e.started_at, e.audio) for e in self._ears])

    def believed(self) -> dict[str, int]:
        """Return how much of each reply the server believes was heard, ms."""
        before = len(self.emulator.journal("conversation"))
        self.emulator.signal("emulator", signal.SIGUSR1)
        # For the server, a session whose connection is frozen goes on.
        session = self.emulator.journal("reply")[-1]["session"]
        deadline = time.monotonic() + 1
        while True:
            told = self.emulator.journal("conversation")[before:]
            found = [entry for entry in told if entry["session"] == session]
            if found:
                break
            if time.monotonic() > deadline:
                # the session is over
                return {}
            time.sleep(0.01)  # No event says that a file has grown, so look again.
        return {
            item["id"]: item["audio_ms"]
            for item in found[-1]["items"]
            if item.get("role") == "assistant" and "audio_ms" in item
        }
