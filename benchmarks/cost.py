"""The cost of a conversation: CPU and memory of each stage, and the time to the first word.

    python -m benchmarks.cost

The stages run with the emulator, on a private sound server if there is one, and otherwise on files.
CPU is in % of one core, idle (a silent microphone) and talking (a long reply is played). Memory is
resident (RSS), and proportional (PSS: shared memory divided among its users). On a sound server,
the benchmark also measures a speaker alone. The time to the first word runs from the start of
bin/demo to the first sound at the speaker.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.systems import Peer
from harness.ears import Ear
from harness.pulse import SoundServer
from harness.soundbench import ROOT, Pipeline
from shared import messages, registry

TICKS_S = os.sysconf("SC_CLK_TCK")
#: The stages that remove the echo and detect the person's voice.
ROOM = ("echo", "vad")
#: A reply that lasts longer than any window.
LONG = ("--reply", "clip:long")
#: The benchmark waits this long for the first word, s.
FIRST_WORD_S = 60.0
#: Samples in a speaker's buffer: 0 (the device chooses), and the size that playback asks for.
SHORTEST, BUFFER = 0, 128
#: A quieter sample is not a word.
AUDIBLE = 300


@dataclass(frozen=True)
class Usage:
    """The resources that one process used."""

    cpu: float  # % of one core
    rss_mb: float
    pss_mb: float


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--window",
        type=float,
        default=20.0,
        metavar="S",
        help="the length of each measurement (default 20)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        metavar="N",
        help="how often to start bin/demo (default 5; 0 skips this part)",
    )
    parser.add_argument(
        "--files", action="store_true", help="use file devices even if there is a sound server"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results to this file"
    )
    arguments = parser.parse_args()
    why = "asked for" if arguments.files else SoundServer.unavailable()
    with ExitStack() as stack:
        server = None if why else stack.enter_context(SoundServer())
        print(
            f"devices: {f'files ({why})' if why else 'PulseAudio'}; load {os.getloadavg()[0]:.1f}"
        )
        usage = conversation(server, arguments.window)
        print(table(usage))
        alone = {
            size: speaker_alone(server, arguments.window, size)
            for size in (SHORTEST, BUFFER)
            if server
        }
        for size, needed in alone.items():
            what = f"buffers of {size} samples" if size else "the shortest buffers"
            print(f"a speaker alone, whose callback does nothing, {what}: {needed.cpu:.1f} %")
        first = [first_word(server) for _ in range(arguments.runs)]
        if first:
            runs = ", ".join(f"{seconds:.2f}" for seconds in first)
            print(
                f"\nbin/demo to the first word: {statistics.median(first):.2f} s, median of {runs}"
            )
    if arguments.json:
        result = {
            "devices": "files" if why else "PulseAudio",
            "window_s": arguments.window,
            "usage": {
                state: {stage: asdict(used) for stage, used in stages.items()}
                for state, stages in usage.items()
            },
            "speaker_alone": {str(size): asdict(needed) for size, needed in alone.items()},
            "first_word_s": first,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def conversation(server: SoundServer | None, window_s: float) -> dict[str, dict[str, Usage]]:
    """Measure the stages, idle and talking."""
    with tempfile.TemporaryDirectory(prefix="bargein-cost-") as directory:
        env, settings = devices(server, Path(directory))
        with Pipeline(env=env, settings=settings, emulator=LONG) as run:
            pids = {stage: run.pid(stage) for stage in registry.STAGES}
            idle = used(pids, window_s)
        settings["session.greeting"] = "Tell the long story."
        with Pipeline(env=env, settings=settings, emulator=LONG) as run:
            pids = {stage: run.pid(stage) for stage in registry.STAGES}
            run.bus.wait_for(messages.Heard, lambda heard: heard.playing)
            talking = used(pids, window_s)
            if not run.bus.all(messages.Heard)[-1].playing:
                raise SystemExit("cost: the assistant fell silent within the window")
    return {"idle": idle, "talking": talking}


def speaker_alone(server: SoundServer, window_s: float, size: int) -> Usage:
    """Measure the cost of PortAudio itself for a speaker, with buffers of a size."""
    with ExitStack() as stack:
        command = [
            sys.executable,
            "-m",
            "benchmarks.device_limit",
            "1",
            *([str(size)] if size else []),
        ]
        peer = Peer(command, server, stack)
        return used({"": peer.pid}, window_s)[""]


def devices(
    server: SoundServer | None, directory: Path
) -> tuple[Mapping[str, str], dict[str, object]]:
    """Return the environment and the settings with which the stages find their devices."""
    if server is not None:
        return server.env, {}
    return {}, {
        "capture.device": "null",
        "playback.device": f"file:{directory / 'speaker.wav'}",
    }


def used(pids: Mapping[str, int], seconds: float) -> dict[str, Usage]:
    """Measure processes over a window."""
    begun = time.monotonic()
    before = {stage: cpu_s(pid) for stage, pid in pids.items()}
    time.sleep(seconds)
    lasted = time.monotonic() - begun
    return {
        stage: Usage((cpu_s(pid) - before[stage]) / lasted * 100, *memory_mb(pid))
        for stage, pid in pids.items()
    }


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process with all its threads, s."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    # The name, in brackets, may contain spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def memory_mb(pid: int) -> tuple[float, float]:
    """Return a process's resident and proportional memory, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    kb = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
    return kb["Rss"] / 1000, kb["Pss"] / 1000


def table(usage: Mapping[str, Mapping[str, Usage]]) -> str:
    """Return the table of the stages and their sums."""
    states = list(usage)
    rows = [
        f"{'':9}" + "".join(f"  {state:>9} {'RSS':>7} {'PSS':>7}" for state in states),
        f"{'':9}" + f"  {'% of core':>9} {'MB':>7} {'MB':>7}" * len(states),
    ]
    rows += [
        f"{stage:9}" + "".join(cells([usage[state][stage]]) for state in states)
        for stage in registry.STAGES
    ]
    for name, stages in sums():
        some = ("".join(cells([usage[state][s] for s in stages])) for state in states)
        rows.append(f"{name:9}" + "".join(some))
    return "\n".join(rows)


def sums() -> list[tuple[str, list[str]]]:
    """Return the sums of the table, and the sums of echo and vad."""
    rest = [stage for stage in registry.STAGES if stage not in ROOM]
    return [("the five", rest), ("echo+vad", list(ROOM)), ("all", list(registry.STAGES))]


def cells(usages: Sequence[Usage]) -> str:
    """Return the sum of some processes as cells of the table."""
    cpu, rss, pss = (
        sum(values) for values in zip(*((u.cpu, u.rss_mb, u.pss_mb) for u in usages), strict=True)
    )
    return f"  {cpu:9.1f} {rss:7.0f} {pss:7.0f}"


def first_word(server: SoundServer | None) -> float:
    """Return the time from the start of bin/demo to the first sound at the speaker, s."""
    with (
        tempfile.TemporaryDirectory(prefix="bargein-demo-", dir="/tmp") as name,
        ExitStack() as stack,
    ):
        directory = Path(name)
        if server is not None:
            env = dict(server.env)
            heard = partial(heard_at, stack.enter_context(server.record()))
        else:
            env = {**os.environ, "BARGEIN_BUS__DIRECTORY": str(directory / "bus")}
            env["BARGEIN_CAPTURE__DEVICE"] = "null"
            env["BARGEIN_PLAYBACK__DEVICE"] = f"file:{directory / 'speaker.wav'}"
            heard = partial(written_at, directory / "speaker.wav")
        begun = time.monotonic()
        demo = subprocess.Popen(
            demo_command(directory),
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while (at := heard()) is None:
                if demo.poll() is not None or time.monotonic() - begun > FIRST_WORD_S:
                    raise SystemExit("cost: bin/demo was not heard: run it by hand to see why")
                time.sleep(0.01)
        finally:
            os.killpg(demo.pid, signal.SIGTERM)
            demo.wait()
    return at - begun


def demo_command(directory: Path) -> list[str]:
    """Return the demo's command: bin/demo, or without a set-up the module that it runs."""
    arguments = ["--seconds", "30", "--out", str(directory)]
    if (ROOT / ".venv" / "set-up").exists():
        return [str(ROOT / "bin" / "demo"), *arguments]
    return [sys.executable, "-m", "commands.demo", *arguments]


def heard_at(ear: Ear) -> float | None:
    """Return when the first sound was at the speaker (monotonic s), or None."""
    loud = np.flatnonzero(np.abs(ear.audio) > AUDIBLE)
    return ear.time_of(int(loud[0])) if len(loud) else None


def written_at(path: Path) -> float | None:
    """Return the time now if there is sound in a WAV file, or else None."""
    if not path.exists():
        return None
    sound = path.read_bytes()[44:]
    samples = np.frombuffer(sound[: len(sound) & ~1], "<i2")
    return time.monotonic() if np.any(np.abs(samples) > AUDIBLE) else None


if __name__ == "__main__":
    sys.exit(main())
