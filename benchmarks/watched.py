"""The cost of watching and recording: monitor and the recorder, through a conversation.

    python -m benchmarks.watched

The stages hold a conversation with the emulator in which a recorded person asks and interrupts
every few seconds. The recorder writes everything: the sound, and every message on the bus. CPU is
the kernel's count for each process, in % of one core, over a window: first nobody watches, then a
Chromium without a window shows the page. Its own CPU is the viewer's and is printed apart. Without
Chromium a program reads the messages that the page reads (so does --program).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from websockets.sync.client import unix_connect

from benchmarks.cost import used
from harness import recordings
from harness.soundbench import Pipeline
from shared import door, messages, registry

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: The processes that are measured, and the most that they may take together, % of a core.
MEASURED = ("monitor", "recorder")
#: The stages of a conversation, and ``tools``, which bin/start runs as well.
OTHERS = (*registry.STAGES, "tools")
LIMIT = 10.0
#: The person asks, and talks over the answer, once in this time, s.
ROUND_S = 12.0
#: The time for the page to be there, s, and for starting.
SETTLE_S, START_S = 2.0, 15.0


def main() -> int:
    """Run the benchmark; return the exit code: 1 if the limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--window", type=float, default=36.0, metavar="S", help="each measurement (default 36)"
    )
    parser.add_argument("--program", action="store_true", help="watch without a browser")
    arguments = parser.parse_args()
    browser = "" if arguments.program else (CHROMIUM or "")
    with tempfile.TemporaryDirectory(prefix="bargein-watched-", dir="/tmp") as name:
        said = [
            (at + ROUND_S * turn, utterance)
            for turn in range(round((3 * arguments.window + START_S) / ROUND_S))
            for at, utterance in ((1.0, recordings.QUESTION), (7.0, recordings.WAIT))
        ]
        microphone = recordings.microphone(Path(name) / "person.wav", said, said[-1][0] + 5)
        settings = {
            "capture.device": microphone,
            "playback.device": "null",
            "monitor.port": 0,
            "recorder.bus": "true",
            "recorder.directory": name,
        }
        stages = [*OTHERS, *MEASURED]
        with Pipeline(settings=settings, emulator=("--reply", "clip:long"), stages=OTHERS) as run:
            for stage in MEASURED:
                run.start_stage(stage)
            wait_for_door(run.bus_directory)
            pids = {stage: run.pid(stage) for stage in stages}
            alone = used(pids, arguments.window)
            with page(browser, run.bus_directory) as viewer:
                threading.Event().wait(SETTLE_S)
                before = cpu_of(viewer)
                watched = used(pids, arguments.window)
                showing = (cpu_of(viewer) - before) / arguments.window * 100
            cuts = len(run.bus.all(messages.Interruption))
    print(f"load {os.getloadavg()[0]:.1f}; {cuts} interruptions; % of one core, and MB")
    print(f"{'':10}{'nobody watches':>18}{'one page':>18}")
    for stage in MEASURED:
        cells = (f"{u[stage].cpu:10.1f} {u[stage].rss_mb:7.0f}" for u in (alone, watched))
        print(f"{stage:10}{''.join(cells)}")
    total = sum(watched[stage].cpu for stage in MEASURED)
    rest = sum(watched[stage].cpu for stage in OTHERS)
    print(f"together with one page: {total:.1f} % (limit {LIMIT:g} %)")
    print(f"the other stages meanwhile: {rest:.1f} %; the browser itself: {showing:.1f} %")
    return int(total > LIMIT)


def wait_for_door(directory: Path) -> None:
    """Wait until monitor serves the page."""
    for _ in range(200):
        if (directory / door.ADDRESS).exists():
            return
        threading.Event().wait(0.1)
    raise SystemExit("watched: monitor has not started")


@contextlib.contextmanager
def page(browser: str, directory: Path) -> Iterator[Sequence[psutil.Process]]:
    """Show the page in a browser, or read its messages; yield the viewer's processes."""
    if not browser:
        with contextlib.ExitStack() as stack:
            url = "ws://door/events?levels=1"
            socket = stack.enter_context(unix_connect(str(directory / door.SOCKET), url))
            threading.Thread(target=lambda: list(socket), daemon=True).start()
            yield []
        return
    # Only a measurement with a browser needs this package.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = opened.new_page(viewport={"width": 1440, "height": 900})
        address = (directory / door.ADDRESS).read_text().strip()
        shown.goto(f"{address}#token={door.token(directory)}")
        shown.wait_for_selector("#stages tr:nth-child(7)")
        names = ("chrom", "headless")
        children = psutil.Process().children(recursive=True)
        yield [each for each in children if any(n in each.name().lower() for n in names)]
        opened.close()


def cpu_of(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU time of some processes, s."""
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


if __name__ == "__main__":
    sys.exit(main())
