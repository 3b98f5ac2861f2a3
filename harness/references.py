"""``python -m harness.references``: records the reference recordings of the tests again.

Run it after a change that is meant to change what a stage decides. It has the emulator hold each
conversation in real time, which takes a minute. Before you record, look at the change with
``bargein replay``: it prints each difference between the old recording and what the stages do now.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcap.writer import CompressionType, IndexType, Writer

from commands.replay.__main__ import compare, run, warnings
from commands.replay.differences import IGNORED
from services.recorder.bus_file import copy
from shared import config, recording

DIRECTORY = config.ROOT / "tests" / "recordings"
#: The length of each conversation, s: it has one interruption, and the beginning of the answer.
SECONDS = 18
#: The settings of each recording, by its name.
REFERENCES: Mapping[str, Mapping[str, str]] = {
    "client-decides": {"interruption.decide": "client", "interruption.min_speech_ms": "250"},
    "server-decides-and-renewed": {"link.session_limit_s": "9", "link.renew_before_s": "5"},
}
#: The stages that the tests replay.
STAGES = ("downlink", "uplink", "playback")
#: The topics in a reference: those that these stages and vad read and publish, and the healths that
#: tell when they started. Without voices, the sound is silence, which takes no room.
TOPICS = (
    "mic.clean", "mic.speech", "client.event", "interruption", "server.event", "link.state",
    "reply.audio", "reply.state", "transcript", "history.heard", "session.renew",
    "session.request", "session.sleep", "usage", "flush", "turn.decision", "heard", "report.flush",
    "speaker.calls", "panel", "control",
    "tool.offer", "tool.call", "tool.result", "tool.state",
    "downlink.health", "uplink.health", "playback.health",
)  # fmt: skip


class _Timeless(Writer):
    """Leaves out the times that only a viewer needs: each message tells its own."""

    def add_message(self, channel_id: int, _at: int, data: bytes, *_times: int) -> None:
        """Write a message."""
        super().add_message(channel_id, 0, data, 0, 0)


def pack(path: Path) -> bytes:
    """Return a recording in the smallest form: without an index, and as one piece in xz."""
    with tempfile.TemporaryFile() as file:
        writer = _Timeless(
            file,
            chunk_size=2**30,
            compression=CompressionType.NONE,
            index_types=IndexType.NONE,
            repeat_channels=False,
            repeat_schemas=False,
        )
        copy(path, writer)
        file.seek(0)
        return lzma.compress(file.read(), preset=9)


def unpack(name: str, directory: Path) -> Path:
    """Write a reference to a directory as a recording; return the recording's path."""
    path = directory / f"{name}.mcap"
    path.write_bytes(lzma.decompress((DIRECTORY / f"{name}.mcap.xz").read_bytes()))
    return path


def is_good(path: Path) -> bool:
    """Return whether a recording is fit to be a reference: today's stages decide the same on it.

    The recorder may have started too late for the first messages. Or a moment was on the edge: a
    timer rang within the ms in which a limit was reached, and which came first was not recorded.
    """
    about = recording.Recording()
    recorded = sorted(recording.read(path, about), key=lambda each: each.stamp.t)
    if warnings(recorded, STAGES):
        return False
    replayed = run(recorded, about, STAGES, speed=0)
    found = compare(recorded, about, replayed, frozenset(IGNORED))
    for each in found:
        print(f"  {each.topic}: {each.text}")
    return not found


def record(name: str, settings: Mapping[str, str]) -> int:
    """Hold one conversation and keep its recording; return the recording's size, bytes."""
    topics = ", ".join(f'"{topic}"' for topic in TOPICS)
    all_settings = {
        **settings,
        "recorder.bus": "true",
        "recorder.voices": "false",
        "recorder.topics": f"[{topics}]",
        "session.transcription_model": "whisper-1",
        "capture.device": f"file:{config.ROOT / 'services' / 'emulator' / 'voice' / 'person.opus'}",
        "playback.device": "null",
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(config.PREFIX)}
    for key, value in all_settings.items():
        environment[f"BARGEIN_{key.replace('.', '__').upper()}"] = value
    with tempfile.TemporaryDirectory(prefix="bargein-reference-") as directory:
        environment["BARGEIN_BUS__DIRECTORY"] = f"{directory}/bus"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "commands",
                "demo",
                "--seconds",
                str(SECONDS),
                "--out",
                directory,
            ],
            env=environment,
            cwd=config.ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        [made] = Path(directory).glob("*.mcap")
        if not is_good(made):
            return 0
        DIRECTORY.mkdir(exist_ok=True)
        return (DIRECTORY / f"{name}.mcap.xz").write_bytes(pack(made))


def main() -> int:
    """Record all references, or those that the command line names."""
    for name in sys.argv[1:] or REFERENCES:
        while not (size := record(name, REFERENCES[name])):
            print(f"{name}: on the edge, or not from the beginning; again")
        print(f"{name}: {size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
