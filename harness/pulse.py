"""A sound server without a sound card: a private PulseAudio whose devices are a speaker and a mic.

A program under test runs with ``SoundServer.env`` and finds both as the machine's default devices,
through ALSA as on any Linux. A ``Mouth`` plays into the mic, an ``Ear`` records what the speaker
plays. The machine's own sound server and the user's settings are neither used nor changed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from harness.ears import START_TIMEOUT, Ear, Mouth, SoundServerError
from harness.processes import end_process, spawn
from harness.waves import RATE, Samples

PROGRAMS = ("pulseaudio", "pactl", "pacat", "parec")
ALSA_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
LIBRARIES = ("/usr/lib", "/usr/lib64")


class SoundServer:
    """A private PulseAudio, in its own directory, with two null sinks: `speaker` and `mic`.

    The default output is `speaker`; the default input hears the sound that is played into `mic`.
    All processes are started by the calling thread and end when that ends, even if it is killed:
    start it in the main thread.
    """

    def __init__(self, rate: int = RATE) -> None:
        """Set the rate of both devices, in samples per second."""
        self.rate = rate
        # In /tmp even if TMPDIR is another directory: a socket's path must be short and without
        # spaces, because PULSE_SERVER is a list separated by spaces.
        self.directory = Path(tempfile.mkdtemp(prefix="bargein-sound-", dir="/tmp"))
        self.env = self._environment()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._mouths: list[Mouth] = []
        self._ears: list[Ear] = []
        self._sounds = itertools.count(1)

    @staticmethod
    def unavailable() -> str | None:
        """Return why this machine can have no sound server, or None if it can."""
        if sys.platform != "linux":
            return "no sound server: PulseAudio under ALSA needs Linux"
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if not any(
            next(Path(folder).glob(pattern), None)
            for folder in LIBRARIES
            for pattern in (ALSA_PLUGIN, f"*/{ALSA_PLUGIN}")
        ):
            missing.append("ALSA's plugin for PulseAudio")
        if missing:
            return f"no sound server: {', '.join(missing)} not found; bin/test installs what it may"
        return None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the daemon, and return when both devices are there."""
        # Without `norewinds` a null sink renders two seconds ahead and takes them back when
        # something changes; with it, what was rendered was played, as on a real device.
        sink = f"rate={self.rate} channels=1 channel_map=mono format=s16le norewinds=1"
        protocol = f"auth-anonymous=1 auth-cookie-enabled=0 socket={self._socket}"
        with (self.directory / "pulseaudio.log").open("ab") as log:
            self._daemon = spawn(
                [
                    *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no"),
                    *("--exit-idle-time=-1", "--high-priority=no", "--realtime=no"),
                    *("--disable-shm=yes", "--log-target=stderr", "--log-level=notice"),
                    *("-L", f"module-null-sink sink_name=speaker {sink}"),
                    *("-L", f"module-null-sink sink_name=mic {sink}"),
                    # Last, so that a program that can connect finds the devices.
                    *("-L", f"module-native-protocol-unix {protocol}"),
                ],
                env=self.env,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._daemon.poll() is not None:
                raise SoundServerError(f"PulseAudio ended as it started:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise SoundServerError(
                    f"PulseAudio is not ready after {START_TIMEOUT:g} s:\n{self._log_tail()}"
                )
            time.sleep(0.005)  # No event says when the socket listens, so try again.
        self.pactl("set-default-sink", "speaker")
        self.pactl("set-default-source", "mic.monitor")

    def stop(self) -> None:
        """End the daemon and all programs that play or record; keep the directory."""
        self.hush()
        for ear in self._ears:
            ear.stop()
        self._ears.clear()
        if self._daemon is not None:
            end_process(self._daemon)
            self._daemon = None
        self._socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the daemon as a debugger does: it answers nobody, until ``thaw``."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a stopped daemon go on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def hush(self) -> None:
        """Stop every mouth."""
        for mouth in self._mouths:
            mouth.stop()
        self._mouths.clear()

    def restart(self) -> None:
        """Remove the devices from all programs that use them, and bring them back."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End all processes and remove the directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def pactl(self, *arguments: str) -> str:
        """Run pactl, for instance ``pactl("load-module", "module-loopback", …)``."""
        done = subprocess.run(
            ["pactl", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_TIMEOUT,
        )
        if done.returncode:
            raise SoundServerError(f"pactl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def play(self, sound: Samples | Path, *, rate: int = RATE, sink: str = "mic") -> Mouth:
        """Begin to play mono samples, or a file, into ``sink``; return at once."""
        if isinstance(sound, Path):
            channels: Samples
            channels, rate = soundfile.read(sound, dtype="int16", always_2d=True)
            sound = np.asarray(channels.mean(axis=1), np.int16)
        raw = self.directory / f"sound-{next(self._sounds)}.raw"
        raw.write_bytes(sound.astype("<i2").tobytes())
        mouth = Mouth(self.env, raw, rate, sink, seconds=len(sound) / rate)
        self._mouths.append(mouth)
        return mouth

    @contextlib.contextmanager
    def record(self, sink: str = "speaker", *, rate: int = RATE) -> Iterator[Ear]:
        """Record what is played on ``sink``; the ear is already listening when this returns."""
        ear = Ear(self.env, f"{sink}.monitor", rate)
        self._ears.append(ear)
        try:
            ear.wait_for(lambda heard: len(heard) > 0, START_TIMEOUT, "anything, even silence")
            yield ear
        finally:
            ear.stop()

    @property
    def _socket(self) -> Path:
        return self.directory / "pulse.sock"

    def _environment(self) -> dict[str, str]:
        """Return the environment with which a program finds this sound server and no other."""
        foreign = ("PULSE_", "ALSA_", "JACK_", "PIPEWIRE_", "XDG_", "DBUS_", "DISPLAY")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        home = self.directory / "home"
        runtime = self.directory / "run"
        for folder in (home, runtime):
            folder.mkdir(mode=0o700)
        client = self.directory / "client.conf"
        client.write_text("autospawn = no\nenable-shm = no\n", encoding="utf-8")
        daemon = self.directory / "daemon.conf"
        daemon.write_text(
            f"default-sample-rate = {self.rate}\n"
            "flat-volumes = no\n"
            "resample-method = speex-float-5\n",
            encoding="utf-8",
        )
        # A whole configuration of ALSA: without the machine's cards, and without the messages that
        # PortAudio causes when it tries every device of a full configuration.
        alsa = self.directory / "asound.conf"
        alsa.write_text(
            "".join(
                f'{kind}.{name} {{ type pulse hint {{ show on description "{name}" }} }}\n'
                for kind in ("pcm", "ctl")
                for name in ("default", "pulse")
            ),
            encoding="utf-8",
        )
        return env | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "PULSE_RUNTIME_PATH": str(runtime),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_CLIENTCONFIG": str(client),
            "PULSE_CONFIG": str(daemon),
            "ALSA_CONFIG_PATH": str(alsa),
            "JACK_NO_START_SERVER": "1",
        }

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
        return True

    def _log_tail(self) -> str:
        lines = (self.directory / "pulseaudio.log").read_text(encoding="utf-8").splitlines()
        return "\n".join(lines[-10:])
