"""A long conversation in real time: does anything grow, get lost or drift?

    python -m benchmarks.soak --minutes 120

The person talks over every answer, every 20 to 40 s, and sessions are renewed every few minutes.
The benchmark samples these figures and prints them at the end:

    memory    resident and proportional (PSS) memory of each stage, MB
    files     open descriptors of each stage, and the contents of the bus directory
    counters  all counters of a stage: gaps, losses, refusals, underruns, overflows, renewals
    drift     the microphone's and the speaker's count of samples against the machine's clock

Growth is the slope of a straight line through the second half, so that memory that a process takes
once does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.cost import cpu_s, memory_mb
from harness import speech
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE
from shared import bus, messages, registry
from shared.audio import pcm
from shared.poller import Poller

#: A reply of over three minutes, so that it is playing whenever the person speaks.
REPLY = ("--reply", "clip:long")
#: The shortest and longest time between two utterances of the person, s.
EVERY_S = (20.0, 40.0)
SAMPLE_S = 20.0
#: A frame that comes later than this after the one before it follows a stall, ns.
STALL_NS = 100_000_000
#: How long a session lasts, s, and how long before its end downlink looks for a moment to renew it.
SESSION_S, RENEW_S = 420.0, 120.0
SAID = 4  # the utterances of the person's script


@dataclass(frozen=True)
class Sample:
    """The resources of one stage at one moment."""

    at_s: float
    rss_mb: float
    pss_mb: float
    descriptors: int
    threads: int


@dataclass
class Stream:
    """The clock of a device, according to its frames."""

    opened: int = 0  # times
    missing: int = 0  # samples between frames of one opening
    lost: int = 0  # messages
    #: The longest time without a stall: ns at the converter, samples.
    points: list[tuple[int, int]] = field(default_factory=list)
    _run: list[tuple[int, int]] = field(default_factory=list)
    _stream: int = -1
    _next: int = 0
    _last_ns: int = 0

    def frame(self, stream: int, position: int, at_ns: int, samples: int, lost: int) -> None:
        """Take a frame. One frame per second is kept for the line."""
        self.lost += lost
        broken = stream != self._stream or position != self._next
        if stream != self._stream:
            self._stream, self.opened = stream, self.opened + 1
        else:
            self.missing += abs(position - self._next)
        self._next = position + samples
        # A stall of the machine is not drift.
        since_ns = at_ns - self._last_ns
        self._last_ns = at_ns
        if broken or since_ns > STALL_NS:
            self._run = []
        if not self._run or at_ns - self._run[-1][0] >= 1_000_000_000:
            self._run.append((at_ns, position))
            if len(self._run) > len(self.points):
                self.points = self._run

    def drift(self) -> tuple[float, float]:
        """Return how much faster than the machine's clock the device is, ppm, and the greatest
        distance from a straight line, ms.
        """
        if len(self.points) < 10:
            return float("nan"), float("nan")
        # The times in the first seconds of a stream are inexact.
        at = np.array([p[0] for p in self.points[5:]], np.float64)
        at = (at - at[0]) / 1e9
        place = np.array([p[1] for p in self.points[5:]], np.float64) / pcm.RATE
        slope, zero = np.polyfit(at, place, 1)
        away = np.abs(place - (slope * at + zero)).max()
        return (float(slope) - 1) * 1e6, float(away) * 1e3


class Clocks:
    """Observes the frames of both devices on a thread, and keeps no audio."""

    def __init__(self, directory: Path) -> None:
        self.microphone, self.speaker = Stream(), Stream()
        self._directory = directory
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop observing."""
        self._ending.set()
        self._thread.join()

    def _listen(self) -> None:
        wanted = [registry.of(messages.MicFrame), registry.of(messages.SpeakerFrame)]
        subscriber = bus.Subscriber(wanted, self._directory, observer=True)
        poller = Poller()
        for sock in subscriber.sockets:
            poller.watch(sock)
        while not self._ending.is_set():
            poller.wait(0.1)
            while (delivery := subscriber.receive()) is not None:
                said = delivery.message
                samples = len(said.payload) // pcm.SAMPLE_BYTES
                if isinstance(said, messages.MicFrame):
                    self.microphone.frame(
                        said.stream, said.position, said.captured_ns, samples, delivery.lost
                    )
                elif isinstance(said, messages.SpeakerFrame):
                    self.speaker.frame(
                        said.stream, said.position, said.played_ns, samples, delivery.lost
                    )
        subscriber.close()


class Talk(Pipeline):
    """The stages, and a listener that keeps only a few of their many messages."""

    kinds = (messages.LinkState, messages.Interruption)


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        default=120.0,
        metavar="N",
        help="the length of the conversation (default 120)",
    )
    add("--files", action="store_true", help="use a file as the microphone, and no speaker")
    add("--session", type=float, default=SESSION_S, metavar="S", help="the length of a session")
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="the seed of the times at which the person speaks (default 1)",
    )
    add("--json", type=Path, metavar="FILE", help="also write every sample to this file")
    arguments = parser.parse_args()
    why = "asked for" if arguments.files else SoundServer.unavailable()
    seconds = arguments.minutes * 60
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bargein-soak-")))
        server = None if why else stack.enter_context(SoundServer())
        settings: dict[str, object] = {
            "session.greeting": "Tell the long story.",
            "session.transcription_model": "whisper-1",
            "link.session_limit_s": arguments.session,
            "link.renew_before_s": min(RENEW_S, arguments.session / 3),
        }
        times = list(moments(seconds, random.Random(arguments.seed)))
        if server is None:
            recording = directory / "person.flac"
            write(recording, times, seconds)
            settings |= {"capture.device": f"file:{recording}", "playback.device": "null"}
        devices = f"files ({why})" if why else "PulseAudio"
        print(
            f"{arguments.minutes:g} minutes, {len(times)} interruptions, {devices};"
            f" load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        env = server.env if server else {}
        run = stack.enter_context(Talk(env=env, settings=settings, emulator=REPLY))
        clocks = Clocks(run.bus_directory)
        stack.callback(clocks.close)
        samples, directory_bytes, cpu = watch(run, server, times, seconds)
        print(report(run, clocks, samples, directory_bytes, cpu))
        if arguments.json:
            kept = {stage: [asdict(s) for s in found] for stage, found in samples.items()}
            arguments.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        print(f"load {os.getloadavg()[0]:.1f}")
    return 0


def moments(seconds: float, chance: random.Random) -> Iterator[float]:
    """Return when the person speaks, s from the beginning."""
    at = 10.0
    while at < seconds - 10:
        yield at
        at += chance.uniform(*EVERY_S)


def write(path: Path, times: Sequence[float], seconds: float) -> None:
    """Write a recording of what the person says."""
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        written = 0
        for number, at in enumerate([*times, seconds + 60]):
            while (left := round(at * RATE) - written) > 0:
                step = min(left, RATE * 60)
                file.write(np.zeros(step, np.int16))
                written += step
            if at < seconds:
                said = speech.person(number % SAID)
                file.write(said)
                written += len(said)


def watch(
    run: Pipeline, server: SoundServer | None, times: Sequence[float], seconds: float
) -> tuple[dict[str, list[Sample]], list[tuple[float, int, int]], dict[str, float]]:
    """Run the conversation; return the samples of its resources."""
    begun = time.monotonic()
    stages = {stage: run.pid(stage) for stage in run.stages}
    before = {stage: cpu_s(pid) for stage, pid in stages.items()}
    samples: dict[str, list[Sample]] = {stage: [] for stage in stages}
    directory: list[tuple[float, int, int]] = []
    due = list(enumerate(times))
    next_sample = 0.0
    while (now := time.monotonic() - begun) < seconds:
        if now >= next_sample:
            next_sample += SAMPLE_S
            for stage, pid in stages.items():
                samples[stage].append(sample(now, pid))
            directory.append((now, *held(run.bus_directory)))
        if server is not None and due and now >= due[0][1]:
            # Forget processes that have ended.
            server.hush()
            server.play(speech.person(due.pop(0)[0] % SAID))
        until = min(next_sample, due[0][1] if server is not None and due else seconds, seconds)
        time.sleep(max(0.0, until - (time.monotonic() - begun)))
    lasted = time.monotonic() - begun
    cpu = {stage: (cpu_s(pid) - before[stage]) / lasted * 100 for stage, pid in stages.items()}
    return samples, directory, cpu


def sample(at_s: float, pid: int) -> Sample:
    """Return the resources of a process."""
    entries = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    return Sample(at_s, *memory_mb(pid), entries, threads)


def held(directory: Path) -> tuple[int, int]:
    """Return how many files a directory holds, and their bytes."""
    files = [path for path in directory.rglob("*") if not path.is_dir()]
    return len(files), sum(path.stat().st_size for path in files)


def growth(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a line through the second half, per hour."""
    later = points[len(points) // 2 :]
    if len(later) < 2:
        return float("nan")
    at, values = np.array(later).T
    return float(np.polyfit(at, values, 1)[0] * 3600)


def report(
    run: Pipeline,
    clocks: Clocks,
    samples: Mapping[str, Sequence[Sample]],
    directory: Sequence[tuple[float, int, int]],
    cpu: Mapping[str, float],
) -> str:
    """Return all figures as tables."""
    rows = [
        f"{'':10}{'CPU':>6}{'RSS, MB':>20}{'PSS, MB':>20}{'growth / h':>18}{'files':>14}",
        f"{'':10}{'%':>6}" + f"{'first':>7}{'most':>6}{'last':>7}" * 2
        + f"{'RSS':>9}{'PSS':>9}{'first':>7}{'most':>7}",
    ]  # fmt: skip
    for stage, found in samples.items():
        rss, pss = [s.rss_mb for s in found], [s.pss_mb for s in found]
        grew = [
            growth([(s.at_s, value) for s, value in zip(found, values, strict=True)])
            for values in (rss, pss)
        ]
        files = [s.descriptors for s in found]
        rows.append(
            f"{stage:10}{cpu[stage]:6.1f}"
            + "".join(f"{v[0]:7.1f}{max(v):6.1f}{v[-1]:7.1f}" for v in (rss, pss))
            + "".join(f"{g:+9.2f}" for g in grew)
            + f"{files[0]:7}{max(files):7}"
        )
    count, size = directory[0][1:], directory[-1][1:]
    rows.append(
        f"\nbus directory: {count[0]} files, {count[1]} bytes; at the end {size[0]}, {size[1]}"
    )
    for name, stream in (("microphone", clocks.microphone), ("speaker", clocks.speaker)):
        ppm, away = stream.drift()
        rows.append(
            f"{name}: {ppm:+.1f} ppm against the clock in {len(stream.points)} s without a stall,"
            f" at most {away:.1f} ms beside a straight line;"
            f" opened {stream.opened} times, {stream.missing} samples missing,"
            f" {stream.lost} frames lost"
        )
    links = run.bus.all(messages.LinkState)
    sessions = {state.session for state in links if state.session}
    told = run.bus.all(messages.Interruption)
    truncates = run.journal("truncate")
    refused = [entry for entry in truncates if not entry["ok"]]
    rows.append(
        f"{len(sessions)} sessions, causes {sorted({s.cause for s in links if s.cause}) or 'none'};"
        f" {len(told)} interruptions, {len(truncates)} truncates, {len(refused)} refused"
    )
    for stage in samples:
        counted = run.bus.all(messages.Health, topic=f"{stage}.health")[-1].counters
        shown = ", ".join(f"{name} {number}" for name, number in counted.items() if number)
        rows.append(f"{stage} counted: {shown or 'nothing'}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
