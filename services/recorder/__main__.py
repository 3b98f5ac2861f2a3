"""Records the conversation to a file: the person left, the assistant right, as it was heard.

A conversation does not need this stage, and nothing is recorded unless it is started. It writes
``conversation.wav`` and ``conversation.json`` to ``recorder.directory``, and ends by itself after
``recorder.seconds``. After twelve hours it goes on in ``conversation-2.wav``. With ``recorder.bus``
it also writes every message on the bus to ``conversation-<time>.mcap`` (bus_file.py).
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import soundfile

from services.recorder.bus_file import BusFile, repair
from services.recorder.settings import settings_to_record
from services.recorder.sound_files import SoundFiles
from shared import config, messages, registry
from shared.audio import pcm
from shared.audio.timeline import Timeline
from shared.bus import Delivery
from shared.private import open_own
from shared.run import run
from shared.stage import Failure, Stage

#: The channels of the recording.
PERSON, ASSISTANT = 0, 1
#: The age at which sound is written, in samples: 2 s. By then every frame of that time has arrived.
#: ``speaker.frame`` is published up to a device's latency before its sound, ``mic.clean`` after it.
SETTLED = pcm.RATE * 2
#: Seconds between two writes.
WRITE_S = 0.5
#: The pause before each poll while the bus is recorded, s. Meanwhile messages wait in queues that
#: hold seconds of every topic. Each poll takes up to 256 messages, three times as many as come. A
#: recorder that is killed loses at most the messages of LOOK_S and WRITE_S: less than a second.
LOOK_S = 0.25
#: How many interruptions and transcripts are kept in memory until the end, the newest ones, and how
#: many characters of transcripts: a recorder may run for weeks. 16 million characters are 16 to
#: 64 MB.
MAX_RECORDS, MAX_CHARACTERS = 10_000, 16_000_000
#: A frame whose time is more than a minute from now has a wrong time, and is not recorded.
MAX_DISTANCE_NS = 60_000_000_000


class Recorder:
    """Writes the bus's sound and texts to files, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        settings = stage.config.recorder
        self._directory = Path(settings.directory).expanduser()
        self._timeline = Timeline()
        self._zero_ns = 0  # monotonic time of the recording's first sample
        self._interruptions: deque[dict[str, Any]] = deque(maxlen=MAX_RECORDS)
        #: Role and text of each item, by the item's id, oldest first.
        self._transcripts: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._characters = 0  # in these texts
        self._files: SoundFiles | None = None  # None: not wanted, or they cannot be written
        self._paths: list[Path] = []  # of these files
        path = self._directory / ("conversation.wav" if settings.voices else "conversation.json")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if settings.voices:
                self._files = SoundFiles(self._directory)
                self._paths = self._files.paths
            # None: not wanted, or it cannot be written
            self._bus_file = self._begin_bus_file(settings) if settings.bus else None
        except (OSError, soundfile.SoundFileError) as error:
            raise Failure(f"cannot write {path}: {error}: choose another directory") from None
        stage.subscribe(messages.MicClean, self._on_mic)
        stage.subscribe(messages.SpeakerFrame, self._on_speaker)
        stage.subscribe(messages.Interruption, self._on_interruption)
        stage.subscribe(messages.Transcript, self._on_transcript)
        stage.every(WRITE_S, lambda: self._write(SETTLED))
        stage.on_close(self._close)
        if settings.seconds:
            stage.after(settings.seconds, stage.stop)
        stage.state = f"recording {path}"
        stage.log.info(
            "recording %s%s", path, f" for {settings.seconds:g} s" if settings.seconds else ""
        )
        if self._bus_file is not None:
            self._say_bus_file(self._bus_file)

    # the bus

    def _begin_bus_file(self, settings: config.Recorder) -> BusFile:
        """Begin to record the bus. Raises OSError."""
        self._stage.observe_all(self._on_any)
        self._stage.pause(LOOK_S)
        self._stage.every(WRITE_S, self._flush_bus_file)
        bus_file = BusFile(
            self._directory,
            topics=settings.topics or registry.BY_NAME,
            voices=settings.voices,
            max_mb=settings.max_mb,
            max_minutes=settings.max_minutes,
            settings=settings_to_record(self._stage.config),
        )
        # To repair a file of an hour takes half a minute, and the recording has begun.
        threading.Thread(target=self._repair, name="repair", daemon=True).start()
        return bus_file

    def _repair(self) -> None:
        """Write the missing ends of earlier recordings, on a thread of its own."""
        with suppress(OSError, AttributeError):  # Only Linux can do this for one thread.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        for path, error in repair(self._directory):
            if error is None:
                self._stage.log.info("%s had no end, and has one now", path)
            else:
                self._stage.log.warning("%s has no end, and cannot get one: %s", path, error)

    def _say_bus_file(self, bus_file: BusFile) -> None:
        voices = "words and voices" if self._stage.config.recorder.voices else "words, no voices"
        self._stage.state = f"recording the bus ({voices}): {bus_file.path}"
        self._stage.log.info("recording the bus, with all %s: %s", voices, bus_file.path)

    def _on_any(self, delivery: Delivery[messages.Message]) -> None:
        if self._bus_file is None:
            return
        try:
            if self._bus_file.write(delivery.topic, delivery.message, delivery.stamp):
                self._say_bus_file(self._bus_file)
        except OSError as error:
            self._give_up_bus_file(error)

    def _flush_bus_file(self) -> None:
        if self._bus_file is not None:
            try:
                self._bus_file.flush()
            except OSError as error:
                self._give_up_bus_file(error)

    def _give_up_bus_file(self, error: OSError) -> None:
        bus_file, self._bus_file = self._bus_file, None
        self._unwritable(error)
        if bus_file is not None:
            with suppress(OSError):
                bus_file.close()

    # the conversation

    def _on_mic(self, delivery: Delivery[messages.MicClean]) -> None:
        self._place(PERSON, delivery.message, delivery.message.captured_ns)

    def _on_speaker(self, delivery: Delivery[messages.SpeakerFrame]) -> None:
        self._place(ASSISTANT, delivery.message, delivery.message.played_ns)

    def _place(
        self, channel: int, frame: messages.MicClean | messages.SpeakerFrame, at_ns: int
    ) -> None:
        if abs(at_ns - time.monotonic_ns()) > MAX_DISTANCE_NS:
            self._stage.count(
                "far_frames",
                warning="frames whose time is more than a minute from now were not recorded",
            )
            return
        self._zero_ns = self._zero_ns or at_ns
        self._timeline.put(channel, frame.stream, frame.position, at_ns, frame.payload)

    def _on_interruption(self, delivery: Delivery[messages.Interruption]) -> None:
        record = delivery.message
        # A record that lacks both times has at least the time at which it was published.
        at_ns = record.event_ns or record.silent_ns or delivery.stamp.t
        self._interruptions.append(
            {
                "at_ms": (at_ns - self._zero_ns) // 1_000_000,
                **msgspec.to_builtins(record),
            }
        )

    def _on_transcript(self, delivery: Delivery[messages.Transcript]) -> None:
        transcript = delivery.message
        _, before = self._transcripts.get(transcript.item_id, ("", ""))
        self._transcripts[transcript.item_id] = (transcript.role, transcript.text)
        self._characters += len(transcript.text) - len(before)
        while len(self._transcripts) > MAX_RECORDS or self._characters > MAX_CHARACTERS:
            _, (_, oldest) = self._transcripts.popitem(last=False)
            self._characters -= len(oldest)

    def _write(self, keep: int) -> None:
        """Write all sound but the newest ``keep`` samples."""
        if self._files is None:
            return
        try:
            if self._files.write(self._timeline.take(keep)):
                path = self._paths[-1]
                self._stage.state = f"recording {path}"
                self._stage.log.info("the last file is full: recording %s", path)
        except (OSError, soundfile.SoundFileError) as error:
            self._give_up(error)

    def _unwritable(self, error: Exception) -> None:
        self._stage.count(
            "unwritable",
            warning=f"cannot write to {self._directory}: {error}: free some space or choose another"
            " directory; the conversation goes on, its recording ends here",
        )
        self._stage.ok = False

    def _give_up(self, error: Exception) -> None:
        self._unwritable(error)
        files, self._files = self._files, None
        if files is not None:
            try:
                files.close()
            except (OSError, soundfile.SoundFileError):
                pass  # the warning above says why

    def _close(self) -> None:
        if self._bus_file is not None:
            try:
                self._bus_file.close()
            except OSError as error:
                self._unwritable(error)
            self._bus_file = None
        self._write(0)
        if self._files is not None:
            self._files.close()
            self._files = None
        record = {
            # of this recording: a file of an earlier one may be beside them
            "files": [path.name for path in self._paths],
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "interruptions": list(self._interruptions),
            "transcripts": [
                {"item_id": item_id, "role": role, "text": text}
                for item_id, (role, text) in self._transcripts.items()
            ],
        }
        path = self._directory / "conversation.json"
        try:
            with os.fdopen(open_own(path), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
        except OSError as error:
            self._stage.count("unwritable", warning=f"cannot write {path}: {error.strerror}")


def main() -> int:
    """Run the stage."""
    return run("recorder", Recorder, "Records the conversation on the bus to a file.")


if __name__ == "__main__":
    raise SystemExit(main())
