"""A sound server without a sound card: a private PulseAudio whose devices are a speaker and a mic.

A program under test runs with ``SoundServer.env`` and finds both as the machine's default devices,
through ALSA as on any Linux. A ``Mouth`` plays into the mic, an ``Ear`` records what the speaker
plays. The machine's own sound server and the user's settings are neither used nor changed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Self

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.int16]
Pipe = int | IO[bytes]

RATE = 24_000
"""The default rate of an ear and a mouth, samples per second."""

EAR_LATENCY_MS = 5
"""The length of a chunk that the sound server renders and delivers to an ear, ms."""

MOUTH_LATENCY_MS = 100
"""How far a mouth sends ahead, ms, so that a busy machine makes no gaps in its speech."""

START_TIMEOUT = 10.0
"""How long a sound server or a recording may take to be ready, s."""

PROGRAMS = ("pulseaudio", "pactl", "pacat", "parec")
ALSA_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
LIBRARIES = ("/usr/lib", "/usr/lib64")


class SoundServerError(Exception):
    """Raised when the sound server, or a program that plays or records, fails."""


class SoundServer:
    """A private PulseAudio, in its own directory, with two null sinks: `speaker` and `mic`.

    The default output is `speaker`, the default input what is played into `mic`. All processes are
    started by the calling thread and end when that ends, even if it is killed: start it in the main
    thread.
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


class Mouth:
    """A program that plays samples into a sink."""

    def __init__(
        self, env: dict[str, str], raw: Path, rate: int, sink: str, seconds: float
    ) -> None:
        """Begin to play ``raw``, mono 16-bit samples without a header, which lasts ``seconds``."""
        self.seconds = seconds
        self._process = spawn(
            [
                *("pacat", "--raw", f"--device={sink}", f"--latency-msec={MOUTH_LATENCY_MS}"),
                *("--format=s16le", f"--rate={rate}", "--channels=1", str(raw)),
            ],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @property
    def speaking(self) -> bool:
        """Whether the program still plays."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until everything was played. Raises SoundServerError if it was not."""
        try:
            _, errors = self._process.communicate(timeout=timeout or self.seconds + START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.stop()
            raise SoundServerError(f"{self.seconds:.1f} s of sound have not ended") from None
        if self._process.returncode:
            raise SoundServerError(f"pacat: {errors.decode(errors='replace').strip()}")

    def stop(self) -> None:
        """Stop at once, even in the middle of a word."""
        end_process(self._process)
        if self._process.stderr is not None:
            self._process.stderr.close()


class Ear:
    """A recording that can be read while it grows: mono samples without gaps."""

    def __init__(self, env: dict[str, str], source: str, rate: int) -> None:
        """Begin to record ``source`` at ``rate`` samples per second."""
        self.rate = rate
        self._samples = np.zeros(rate * 60, np.int16)
        self._count = 0
        self._started_at = float("inf")
        self._ended = False
        self._errors = ""
        self._changed = threading.Condition()
        self._process = spawn(
            [
                *("parec", "--raw", f"--device={source}", f"--latency-msec={EAR_LATENCY_MS}"),
                *("--format=s16le", f"--rate={rate}", "--channels=1"),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._listen, name=f"ear on {source}", daemon=True)
        self._thread.start()

    @property
    def audio(self) -> Samples:
        """All samples recorded so far."""
        with self._changed:
            return self._samples[: self._count]

    @property
    def started_at(self) -> float:
        """When the first sample was played, on the clock of ``time.monotonic()``.

        The server delivers a chunk of ``EAR_LATENCY_MS`` when the sink begins to play it. A chunk
        may arrive late, but never early, so the earliest arrival counts. The value is exact to
        about 1 ms after the recording has run for a while.
        """
        with self._changed:
            return self._started_at

    def time_of(self, sample: int) -> float:
        """Return when a sample was played, on the clock of ``time.monotonic()``."""
        return self.started_at + sample / self.rate

    def sample_at(self, moment: float) -> int:
        """Return the sample that was played at a moment of ``time.monotonic()``."""
        return round((moment - self.started_at) * self.rate)

    def wait_for(
        self, condition: Callable[[Samples], bool], timeout: float = 10.0, what: str = "it"
    ) -> Samples:
        """Wait until ``condition`` holds for all samples so far; return them."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen, ended = self._count, self._ended
                heard = self._samples[:seen]
            if condition(heard):
                return heard
            if ended:
                raise SoundServerError(
                    f"the recording ended before {what} was heard: {self._errors or 'parec ended'}"
                )
            if time.monotonic() > deadline:
                raise self._not_heard(what, timeout)
            # Look after every 20 ms of sound: often enough, and cheap for a long recording.
            enough = seen + self.rate // 50 if seen else 1
            with self._changed:
                self._changed.wait_for(
                    functools.partial(self._has, enough), deadline - time.monotonic()
                )

    def wait_for_sound(self, after: int = 0, timeout: float = 10.0) -> int:
        """Return the first sample of sound, not before ``after``."""
        heard = self.wait_for(
            lambda heard: bool(spans(heard[after:], self.rate)), timeout, "a sound"
        )
        return after + spans(heard[after:], self.rate)[0][0]

    def wait_for_silence(self, seconds: float, after: int = 0, timeout: float = 10.0) -> int:
        """Return the first sample of ``seconds`` without sound, not before ``after``."""
        length = round(seconds * self.rate)

        def quiet_from(heard: Samples) -> int | None:
            """Return the start of the first silence that lasts long enough."""
            begin = after
            for first, last in spans(heard[after:], self.rate):
                if after + first - begin >= length:
                    return begin
                begin = after + last
            return begin if len(heard) - begin >= length else None

        heard = self.wait_for(
            lambda heard: quiet_from(heard) is not None, timeout, f"{seconds:g} s of silence"
        )
        begin = quiet_from(heard)
        assert begin is not None
        return begin

    def stop(self) -> None:
        """End the recording; keep its samples."""
        end_process(self._process)
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout as pipe, self._process.stderr as errors:
            rest = b""
            while chunk := rest + os.read(pipe.fileno(), 1 << 16):
                now = time.monotonic()
                whole = len(chunk) & ~1
                if not whole:  # The stream ended within a sample.
                    break
                rest = chunk[whole:]
                with self._changed:
                    self._append(np.frombuffer(chunk[:whole], "<i2"), now)
            said = errors.read().decode(errors="replace").strip()
        with self._changed:
            self._errors = said
            self._ended = True
            self._changed.notify_all()

    def _append(self, samples: Samples, now: float) -> None:
        end = self._count + len(samples)
        if end > len(self._samples):
            # Views of the old array stay valid.
            self._samples = np.concatenate((self._samples, np.zeros_like(self._samples)))
        self._samples[self._count : end] = samples
        self._started_at = min(self._started_at, now - self._count / self.rate)
        self._count = end
        self._changed.notify_all()

    def _has(self, count: int) -> bool:
        return self._ended or self._count >= count

    def _not_heard(self, what: str, timeout: float) -> SoundServerError:
        heard = self.audio
        peak = int(np.abs(heard.astype(np.int32)).max(initial=0))
        when = [f"{a / self.rate:.2f}–{b / self.rate:.2f} s" for a, b in spans(heard, self.rate)]
        return SoundServerError(
            f"not heard within {timeout:g} s: {what}; recorded {len(heard) / self.rate:.2f} s,"
            f" peak {peak}, with sound at {', '.join(when) or 'no time'}"
        )


def spans(
    samples: Samples, rate: int = RATE, *, above_dbfs: float = -50.0, gap_ms: float = 100.0
) -> list[tuple[int, int]]:
    """Return the stretches of sound: (first sample, sample after the last) of each.

    A sample counts as sound above ``above_dbfs``; stretches nearer than ``gap_ms`` are one.
    """
    level = np.int16(32767 * 10 ** (above_dbfs / 20))
    loud = np.flatnonzero((samples > level) | (samples < -level))
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > gap_ms * rate / 1000)
    firsts = loud[np.concatenate(([0], breaks + 1))]
    lasts = loud[np.concatenate((breaks, [len(loud) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def tone(frequency: float, seconds: float, rate: int = RATE, *, peak: float = 0.25) -> Samples:
    """Return a sine of this frequency, Hz; its peak is a fraction of full scale."""
    moments = np.arange(round(seconds * rate)) / rate
    wave: Samples = (np.sin(2 * np.pi * frequency * moments) * peak * 32767).astype(np.int16)
    return wave


def loudest_frequency(samples: Samples, rate: int = RATE) -> float:
    """Return the frequency with the most energy, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def spawn(
    command: Sequence[str],
    *,
    env: dict[str, str],
    stdout: Pipe,
    stderr: Pipe,
    stdin: Pipe = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, and that does not get this one's Ctrl-C."""
    # Not with `preexec_fn`, which can deadlock in a process with threads.
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    return subprocess.Popen(
        [*prefix, *command],
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        start_new_session=True,
    )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process; kill it if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
