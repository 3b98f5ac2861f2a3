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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.cost import cpu_s, memory_mb
from harness import speech
from harness.clocks import Clocks
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE
from shared import messages

#: A reply of over three minutes, so that it is playing whenever the person speaks.
REPLY = ("--reply", "clip:long")
#: The shortest and longest time between two utterances of the person, s.
EVERY_S = (20.0, 40.0)
SAMPLE_S = 20.0
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
    """Write a recording of the person's words."""
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
