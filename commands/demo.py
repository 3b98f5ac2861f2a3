"""``bargein demo``: hold a conversation with an emulator of the server, without key and network.

With a microphone and a speaker the conversation is live. Without them, the microphone is a
recording of a person who asks something and then talks over the answer, and the speaker is a file.
The demo runs the processes of ``Procfile.demo``. Then it prints a table of the interruptions.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile
from honcho import environ

from commands import description, page, practice
from commands.claim import claim
from commands.launcher import Launcher
from commands.preflight import check_directory
from commands.report import __main__ as report
from commands.screen.log_file import NAME
from commands.screen.output import Output
from shared import config, redaction
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.command_line import Parser
from shared.directory import BusError
from shared.exit_codes import RUNNING
from shared.lock import AlreadyRunning
from shared.recording import RecordingError

PERSON = config.ROOT / "services" / "emulator" / "voice" / "person.opus"
#: The last question of the recorded person, over an answer, and the silence before it, s. The
#: emulator answers this turn, the fifth one, with a call of a function: see Procfile.demo.
QUESTION = config.ROOT / "examples" / "tools" / "question.opus"
QUESTION_AFTER_S = 1.0
#: The functions that the demo offers, if the settings name none.
FUNCTIONS = ["examples.tools.timers"]
INDEX = config.ROOT / "services" / "emulator" / "voice" / "index.json"
#: How long a live demo lasts by default, s.
LIVE_S = 120.0
#: Time for the last answer after the recorded person has finished, s.
AFTER_S = 6.0
#: The longest demo that can be asked for, s: one day.
MOST_S = 86_400


class Interruption(msgspec.Struct):
    """The fields of a recorded interruption that the table shows: times in ns, lengths in ms."""

    at_ms: int
    cause: str
    event_ns: int
    silent_ns: int
    latency_ns: int
    reports: list[dict[str, Any]]


class Record(msgspec.Struct):
    """The fields of conversation.json, which the recorder writes, that the table shows."""

    interruptions: list[Interruption]


def script_seconds() -> float:
    """Return how long the recorded person speaks, with time for the last answer, s."""
    index: Any = msgspec.json.decode(INDEX.read_bytes())
    said_s = float(index["person"]["samples"]) / 24000 + QUESTION_AFTER_S
    return said_s + float(soundfile.info(QUESTION).duration) + AFTER_S


def microphone(directory: Path) -> Path:
    """Write what the recorded person says; return the file."""
    path = directory / "microphone.wav"
    person, rate = soundfile.read(PERSON, dtype="int16")
    question, _ = soundfile.read(QUESTION, dtype="int16")
    pause = np.zeros(round(QUESTION_AFTER_S * rate), np.int16)
    end = np.zeros(round(AFTER_S * rate), np.int16)
    soundfile.write(path, np.concatenate([person, pause, question, end]), rate, subtype="PCM_16")
    return path


def has_sound() -> str | None:
    """Return why no live conversation is possible, or None if one is."""
    try:
        devices.open_input("auto").stop()
        devices.open_output("auto").stop()
    except DeviceError as error:
        return str(error)
    return None


def environment(
    directory: Path, seconds: float | None, *, browser: bool = False
) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the environment for the stages, the lines to print, and the screen's arguments.

    Raises config.ConfigError if a setting is wrong, and BusError if the bus cannot be used.
    """
    settings = config.resolve(None, os.environ, []).config
    told = check_directory(settings)
    env = practice.environment(settings)
    env["BARGEIN_RECORDER__DIRECTORY"] = str(directory)
    if not settings.tools.modules:
        env["BARGEIN_TOOLS__MODULES"] = json.dumps(FUNCTIONS)
    env.setdefault("BARGEIN_RECORDER__BUS", "true")
    live = settings.capture.device == settings.playback.device == "auto"
    why = has_sound() if live else "devices are configured"
    if browser:
        env.update(page.DEVICES)
        told += ["live: open the page and talk, over the answer too, whenever you like"]
        told += [f"it ends after {seconds or LIVE_S:g} s, or with Ctrl-C"]
        env["BARGEIN_RECORDER__SECONDS"] = str(seconds or LIVE_S)
        return env, told, []
    if why is None:
        told += ["live: speak into your microphone, and talk over the answer whenever you like"]
        told += [f"it ends after {seconds or LIVE_S:g} s, or with Ctrl-C"]
        env["BARGEIN_RECORDER__SECONDS"] = str(seconds or LIVE_S)
        return env, told, []
    shown: list[str] = []
    if settings.capture.device == "auto":
        env["BARGEIN_CAPTURE__DEVICE"] = f"file:{microphone(directory)}"
        told += [f"no live conversation ({why}): a recorded person speaks instead"]
        told += ["to talk yourself, open the page that 'bin/demo --browser' names"]
        shown = ["--ready", 'Listen: a recorded person is "you". Ctrl-C ends.']
    if settings.playback.device == "auto":
        env["BARGEIN_PLAYBACK__DEVICE"] = f"file:{directory / 'speaker.wav'}"
    env["BARGEIN_RECORDER__SECONDS"] = str(seconds or script_seconds())
    return env, told, shown


def start(env: dict[str, str], printer: Output) -> int:
    """Run the processes of Procfile.demo with this environment; return the exit code.

    The demo does not read a file .env: the file may hold the key, or name another server.
    """
    os.chdir(config.ROOT)
    launcher = Launcher(printer)
    procfile = environ.parse_procfile(Path("Procfile.demo").read_text("utf-8"))
    for process in environ.expand_processes(procfile.processes):
        launcher.add_process(process.name, process.cmd, env={**env, **process.env})
    launcher.loop()
    return launcher.returncode or 0


def _silence(each: Interruption) -> str:
    """Return how long after the event the speaker was silent, or why nobody knows."""
    if each.event_ns and each.silent_ns:
        return f"{(each.silent_ns + each.latency_ns - each.event_ns) / 1e6:.1f} ms"
    if each.event_ns:
        return "not reported"
    return {"abandoned": "nothing played", "lost flush": "flush was lost"}.get(
        each.cause, "not known"
    )


def table(record: Record) -> str:
    """Return the interruptions as a table."""
    if not record.interruptions:
        return "no interruptions"
    rows = [f"{'when':>9}  {'event to silence':>16}  heard"]
    for each in record.interruptions:
        silence = _silence(each)
        when = f"{each.at_ms // 60000:d}:{each.at_ms % 60000 / 1000:06.3f}"
        heard = ", ".join(
            f"{r['heard_ms'] / 1000:.2f} s of {r['received_ms'] / 1000:.2f} s ({r['action']}"
            + (f" at {r['audio_end_ms']} ms)" if r["action"] == "truncate" else ")")
            for r in each.reports
        )
        rows.append(f"{when:>9}  {silence:>16}  {heard or 'nothing was playing'}")
    return "\n".join(rows)


def recordings(directory: Path) -> set[Path]:
    """Return the recordings in a directory that have a date in their names."""
    return set(directory.glob("conversation-*.mcap"))


def leave_report(directory: Path, before: set[Path]) -> None:
    """Make a page of the recording that was not there ``before``; print the page's path.

    The recording replaces that of the demo before, as the other files do: it takes 10 MB a minute.
    """
    made = recordings(directory) - before
    if not made:
        return
    path, kept = directory / "report.html", directory / "conversation.mcap"
    try:
        max(made, key=lambda each: each.stat().st_mtime).replace(kept)
        report.write(kept, path, redact=False)
    except (OSError, RecordingError) as error:
        print(f"demo: no report of the conversation: {error}", file=sys.stderr)
    else:
        print(f"the whole conversation on one page: {path}")


def main() -> int:
    """Run the demo; return the exit code."""
    parser = Parser(prog="bargein demo", description=description(__doc__))
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="put the recording there (default: the current directory)",
    )
    parser.add_argument("--browser", action="store_true", help="talk from a page in your browser")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    arguments = parser.parse_args()
    if arguments.seconds is not None and not 0 < arguments.seconds <= MOST_S:
        parser.error(f"--seconds {arguments.seconds:g}: expected more than 0, at most {MOST_S}")
    directory = arguments.out.expanduser().absolute()
    os.umask(0o077)  # nobody else may read the log and the recording
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass  # a recording can be written there
        claim(config.bus_directory(config.resolve(None, os.environ, []).config))
        (directory / "conversation.json").unlink(missing_ok=True)
        for name in ("conversation.wav", "speaker.wav"):
            if not os.access(directory / name, os.W_OK):
                # There is none, or a run with sudo has left one that only root may replace.
                (directory / name).unlink(missing_ok=True)
        env, told, shown = environment(directory, arguments.seconds, browser=arguments.browser)
    except OSError as error:
        where = redaction.shown(directory)
        print(f"demo: --out {where}: {error.strerror}: choose another directory", file=sys.stderr)
        return 1
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (AlreadyRunning, BusError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return RUNNING if isinstance(error, AlreadyRunning) else 1
    before = recordings(directory)
    log = Path(env["BARGEIN_BUS__DIRECTORY"]) / NAME
    for line in [*told, f"the log: {log}"]:
        print(f"demo: {line}", flush=True)
    code = start(env, Output(log, shown, verbose=arguments.verbose))
    try:
        record = msgspec.json.decode((directory / "conversation.json").read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        print(
            f"demo: the recorder wrote no conversation.json: see the messages above, and {log}",
            file=sys.stderr,
        )
        return code or 1
    print(f"\n{table(record)}\n\nwhat was heard: {directory / 'conversation.wav'}")
    print("(the person left, the assistant right)")
    leave_report(directory, before)
    return 0 if code in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM) else code


if __name__ == "__main__":
    sys.exit(main())
