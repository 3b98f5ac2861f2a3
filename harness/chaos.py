"""Random faults in a running conversation, and their effects: see benchmarks/chaos.py."""

from __future__ import annotations

import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from harness import recordings as recorded
from harness import speech
from harness.accounts import Ledger, Played, Recording, Tones
from harness.ears import Ear
from harness.proxy import Proxy
from harness.pulse import SoundServer
from harness.soundbench import Pipeline, PipelineError
from services.downlink import abandoned
from services.uplink.reports import MARGIN_MS
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
#: How much more than was heard a truncate may state, and, if no fault came between, how much less,
#: ms.
ABOVE_MS, BELOW_MS = 12.0, 12.0
#: The most audio that an unplugged device may have taken without playing it, ms.
TAKEN_MS = 40.0
#: The length of the shortest question, s.
QUESTION_S = 1.1
PHASES = ("idle", "speaking", "interrupted")
#: The person in a file asks and talks over the answer, except over every third answer.
FILE_S, GAPS_S = 900.0, (2.9, 2.9, 5.6)


@dataclass
class Fault:
    """One fault, and its effect on the conversation."""

    number: int
    kind: str
    phase: str
    at_s: float = 0.0
    over_s: float = 0.0  # when the conversation had what the fault took away again
    answer_s: float | None = None
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)


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
        return self.tones.places([Recording(e.started_at, e.audio) for e in self._ears])

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


def run(
    count: int,
    seed: int,
    *,
    sound: bool,
    only: Sequence[str] = (),
    plan: Sequence[tuple[str, str]] = (),
    say: Callable[[Fault], None] = lambda _: None,
) -> tuple[list[Fault], list[str]]:
    """Cause ``count`` faults. Return the faults, and lines about the accounts.

    ``plan`` names the faults and their moments. Without it, chance selects them.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bargein-chaos-")))
        server = stack.enter_context(SoundServer()) if sound else None
        talk = Talk(stack, server, directory)
        usual = [_asked(talk, None) for _ in range(1 if plan else 2)]
        item_id, usual_s = usual[-1][0], min(s for _, s in usual) if sound else 0.0
        happens = talk.faults()
        names = [n for n in happens if not only or any(word in n for word in only)]
        beliefs: dict[str, int] = {}
        plan = plan or [(kind, chance.choice(PHASES)) for kind in _order(names, count, chance)]
        for number, (kind, phase) in enumerate(plan, 1):
            fault = Fault(number, kind, phase, time.monotonic())
            faults.append(fault)
            try:
                # The server has not yet been told about the reply that plays or was just cut.
                beliefs |= {k: v for k, v in talk.believed().items() if k != item_id}
                _wait_for(talk, fault.phase, item_id, chance.uniform(0.2, 1.2))
                fault.at_s = time.monotonic()
                happens[kind]()
                fault.over_s = time.monotonic()
                item_id, answer_s = _asked(talk, fault)
                talk.wait_until_reported()
                fault.answer_s = answer_s - usual_s
            except PipelineError as error:
                fault.wrong.append(str(error)[:2000])
            ended = [s for s in talk.run.stages if not talk.run.runs(s)]
            fault.wrong += [f"{s} has ended: {talk.run.log(s)[-600:]}" for s in ended]
            say(fault)
            if fault.wrong:
                break
        try:
            _wait_for(talk, "idle", item_id, 0)
            over = talk.known()
            talk.wait_until_told()
            beliefs |= {k: v for k, v in talk.believed().items() if k in over}
        except PipelineError as error:
            faults[-1].wrong.append(str(error)[:2000])
        return faults, _balance(talk, faults, beliefs)


def _order(names: Sequence[str], count: int, chance: random.Random) -> Iterable[str]:
    """Yield faults in random order, each as often as the others."""
    left: list[str] = []
    for _ in range(count):
        if not left:
            left = chance.sample(names, len(names))
        yield left.pop()


def _wait_for(talk: Talk, phase: str, item_id: str, seconds: float) -> None:
    """Return when the conversation is in a phase."""
    if phase == "idle":
        talk.wait_until_silent()
    else:
        talk.wait_until_heard(item_id, seconds)
    if phase == "interrupted":
        talk.interrupt()


def _asked(talk: Talk, fault: Fault | None) -> tuple[str, float]:
    """Ask until there is an answer; return its item and the time of the first question, s."""
    known = talk.known()
    begun = time.monotonic()
    for _ in range(TIMES):
        talk.ask()
        asked = time.monotonic()
        try:
            item = talk.answer(known)
            while talk.asks and time.monotonic() - asked < QUESTION_S:
                # It answers an earlier question.
                known.add(item.item_id)
                item = talk.answer(known)
        except PipelineError:
            if fault is not None:
                fault.repeats += 1
            continue
        return item.item_id, time.monotonic() - begun
    raise PipelineError(f"no answer to {TIMES} questions")


def _balance(talk: Talk, faults: Sequence[Fault], beliefs: dict[str, int]) -> list[str]:
    """Check the accounts, and add each error to the fault before it. Return lines to print."""
    for line in talk.ledger.unbalanced():
        faults[-1].wrong.append(line)
    told: dict[str, list[dict[str, Any]]] = {}
    for kind in ("truncate", "delete"):
        for entry in talk.emulator.journal(kind):
            told.setdefault(entry["item_id"], []).append(entry)
    # Read the speaker after the journal, so that everything in the journal has been played.
    played = talk.played()
    begun = sorted((item.begun_ns / 1e9, name) for name, item in talk.ledger.items.items())
    truth = {name: found for at, name in begun if (found := _nearest(played, at)) is not None}
    off: list[float] = []
    for name, entries in told.items():
        fault = _before(faults, float(entries[0]["t_s"]))
        taken = [e for e in entries if e["kind"] == "delete" or e["ok"]]
        if len(taken) > 1 or len(taken) < len(entries):
            fault.wrong.append(f"{name} was truncated or deleted {len(entries)} times: {entries}")
        found = truth.get(name)
        if not taken or found is None:
            continue
        end_ms = float(taken[0].get("audio_end_ms", 0))
        between = any(
            found.begun_s - 0.5 < f.at_s < float(taken[0]["t_s"])
            or f.at_s < found.begun_s < f.over_s
            for f in faults
        )
        if end_ms > found.whole_ms + (TAKEN_MS if between else ABOVE_MS):
            fault.wrong.append(
                f"{name} was truncated at {end_ms:.0f} ms, heard was {_heard(found)}"
            )
        if not between:
            off.append(end_ms - found.last_ms)
            if end_ms < found.last_ms - BELOW_MS:
                fault.wrong.append(
                    f"{name} was truncated at {end_ms:.0f} ms, heard was {found.last_ms:.0f}"
                )
    for name, believed in beliefs.items():
        found = truth.get(name)
        if found is not None and believed > found.whole_ms + MARGIN_MS + TAKEN_MS:
            _before(faults, found.ended_s).wrong.append(
                f"the server believes that {believed} ms of {name} were heard,"
                f" it was {_heard(found)}"
            )
    _stale(talk, faults, played, [at for at, name in begun if name not in truth])
    unheard = len([name for name in talk.ledger.items if name not in truth])
    counts = f"{len(played)} replies at the speaker, {len(told)} items truncated or deleted"
    lines = [f"{counts}, {unheard} not found in the recording"]
    if talk.in_vain:
        lines.append(f"talked over in vain {talk.in_vain} times")
    if off:
        lines.append(
            f"told minus heard where nothing had happened: median {statistics.median(off):+.1f} ms,"
            f" {min(off):+.1f} to {max(off):+.1f}, of {len(off)}"
        )
    return lines


def _stale(
    talk: Talk, faults: Sequence[Fault], played: Sequence[Played], merged: Sequence[float]
) -> None:
    """Look for sound of items that playback reported as cut.

    ``merged`` are the start times, s, of replies that the recording does not separate from the
    replies before them.
    """
    for cut in talk.run.bus.all(messages.FlushReport):
        if not any(0 < item.heard < item.received for item in cut.items):
            continue
        silent_s = (cut.silent_ns + cut.latency_ns) / 1e9
        # The clocks of recordings are less exact than this.
        before = [reply for reply in played if reply.begun_s < silent_s - 0.05]
        last_s = before[-1].ended_s if before else 0.0
        if last_s > silent_s + 0.1 and not any(silent_s - 0.15 < at < last_s for at in merged):
            late_s = last_s - silent_s
            line = f"sound for {late_s:.2f} s after a flush, at {silent_s:.2f} s"
            _before(faults, silent_s).wrong.append(line)


def _heard(found: Played) -> str:
    hole = f", to {found.last_ms:.0f} with a hole" if found.hole else ""
    return f"{found.whole_ms:.0f} ms until {found.ended_s:.2f} s{hole}"


def _nearest(played: Sequence[Played], at_s: float) -> Played | None:
    found = min(played, key=lambda reply: abs(reply.begun_s - at_s), default=None)
    return found if found is not None and abs(found.begun_s - at_s) < 0.15 else None


def _before(faults: Sequence[Fault], moment_s: float) -> Fault:
    return next((f for f in reversed(faults) if f.at_s <= moment_s), faults[0])
