"""A whole conversation: the stage under test, the emulator, and our own stages in all other places.

It runs beside the other rules, with a bus and a copy of the stage of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from commands.check.bench import Bench
from commands.check.process import end
from commands.check.rules import Broken, NotTried
from shared import messages, registry
from shared.audio.pcm import RATE

#: All stages have to find each other, and the reply has to begin, within this long, s.
BEGIN_S = 20.0
#: The reply must go on within this long after the restart of the other stages, s.
AGAIN_S = 15.0
#: A command must have silenced the reply within this long, s: it passes through three stages.
SILENT_S = 3.0
#: This much of a reply must be heard, samples.
HEARD = RATE // 2
SETTINGS = {"BARGEIN_SESSION__GREETING": "Tell a long story."}


class Conversation:
    """One conversation, on a thread of its own."""

    def __init__(self, stage: str, command: Sequence[str]) -> None:
        self._stage, self._command = stage, command
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[str] = self._pool.submit(self._hold)

    def outcome(self) -> str:
        """Return what was seen. Raise Broken or NotTried."""
        return self._future.result()

    def close(self) -> None:
        """Wait until the conversation is over."""
        self._pool.shutdown()

    def _hold(self) -> str:
        others = [name for name in registry.STAGES if name != self._stage]
        # The kit only observes: a message that it consumed would be missing at the stages.
        with Bench(self._stage, self._command, SETTINGS, observes=("playback", "uplink")) as bench:
            started: list[subprocess.Popen[bytes]] = []
            try:
                started.append(self._emulator(bench))
                running = {name: self._start(bench, name) for name in others}
                started += running.values()
                bench.start()
                heard = self._reply(bench, 0, BEGIN_S)
                # Link is not restarted: it holds the session, and with it the reply.
                again = [name for name in others if name != "link"]
                for name in again:
                    end(running[name])
                since = bench.now
                started += [self._start(bench, name) for name in again]
                self._reply(bench, since, AGAIN_S)
                self._interrupt(bench)
            finally:
                for process in started:
                    process.terminate()
                for process in started:
                    end(process)
        return f"{heard / RATE:.1f} s heard, then interrupted, the other stages restarted between"

    def _emulator(self, bench: Bench) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-u", "-m", "services.emulator"]
        url = ("--url", "ws://127.0.0.1:0/v1/realtime", "--reply", "clip:long")
        log = (bench.directory / "emulator.txt").open("wb+")
        process = bench.launch([*command, *url], log)

        def address() -> re.Match[str] | None:
            printed = (bench.directory / "emulator.txt").read_text("utf-8", "replace")
            return re.search(r"listens at (ws://\S+),", printed)

        found = bench.until(address, BEGIN_S)
        log.close()
        if found is None:
            end(process)
            raise NotTried("the emulator did not start")
        bench.env["BARGEIN_LINK__URL"] = found[1]
        return process

    def _start(self, bench: Bench, name: str) -> subprocess.Popen[bytes]:
        return bench.launch([sys.executable, "-m", f"services.{name}"], subprocess.DEVNULL)

    def _reply(self, bench: Bench, since: int, seconds: float) -> int:
        """Wait until a reply is heard and the microphone is sent. Return the samples heard."""

        def heard() -> int:
            frames = bench.all(messages.SpeakerFrame, since)
            return sum(len(frame.payload) // 2 for frame in frames if any(frame.payload))

        def sent() -> int:
            events = bench.all(messages.ClientEvent, since)
            return sum(b"input_audio_buffer.append" in event.payload for event in events)

        if (
            not bench.until(
                lambda: not bench.running or (heard() >= HEARD and sent() >= 10), seconds
            )
            or not bench.running
        ):
            bench.alive()
            when = "after the others were restarted " if since else ""
            raise Broken(
                f"{when}{heard() / RATE:.1f} s of the reply were heard, and {sent()} frames of the"
                f" microphone were sent, in {seconds:g} s"
            )
        return heard()

    def _interrupt(self, bench: Bench) -> None:
        bench.take("monitor")
        # uplink may be there before downlink, which carries the interruption out.
        readers = sum("control" in registry.stage(name).reads for name in registry.STAGES)
        if not bench.until(lambda: bench.subscribed("control", readers=readers), AGAIN_S):
            raise Broken("uplink or downlink does not read control")
        since = bench.now
        bench.publish(messages.Control(command="interrupt"))

        def silent() -> bool:
            frames = bench.all(messages.SpeakerFrame, since)
            return len(frames) > 5 and not any(any(frame.payload) for frame in frames[-5:])

        if not bench.until(silent, SILENT_S):
            bench.alive()
            raise Broken(f"{SILENT_S:g} s after a person's interrupt the reply was still heard")
        if not bench.until(lambda: bench.all(messages.Interruption, since), SILENT_S):
            raise Broken("no interruption was published for a person's interrupt")
