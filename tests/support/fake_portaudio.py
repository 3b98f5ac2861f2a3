"""A PortAudio whose devices, streams and clock are controlled by a test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

#: What the test's monotonic clock shows at first, ns.
NOW = 50_000_000_000
#: The latency of every stream, s.
LATENCY = 0.008


class FakeStream:
    """A stream whose callback the test calls."""

    def __init__(self, callback: Callable[..., tuple[bytes | None, int]], **options: Any) -> None:
        self.options = options
        self.callback = callback
        self.active = False
        self.refuses: OSError | None = None

    def start_stream(self) -> None:
        if self.refuses:
            raise self.refuses
        self.active = True

    def is_active(self) -> bool:
        return self.active

    def get_input_latency(self) -> float:
        return LATENCY

    def get_output_latency(self) -> float:
        return LATENCY


class FakePortAudio:
    """Stands in for ``pyaudio.PyAudio``: one device, with the formats that ``accepts`` allows."""

    def __init__(self) -> None:
        self.initialised = 0
        self.threads: set[str] = set()
        self.devices: list[dict[str, Any]] = [self.device("loud")]
        self.default: int | None = 0
        self.tried: list[tuple[int, int]] = []
        self.accepts: Callable[[int, int], bool] = lambda _rate, _channels: True
        self.stream: FakeStream | None = None
        self.hangs: threading.Event | None = None
        self.now = NOW

    @staticmethod
    def device(
        name: str | bytes, *, inputs: int = 2, outputs: int = 2, rate: float = 48_000.0
    ) -> dict[str, Any]:
        return {
            "name": name,
            "hostApi": 0,
            "maxInputChannels": inputs,
            "maxOutputChannels": outputs,
            "defaultSampleRate": rate,
            "defaultLowInputLatency": 0.0087,
            "defaultLowOutputLatency": 0.0087,
        }

    def __call__(self) -> FakePortAudio:
        self.threads.add(threading.current_thread().name)
        if self.hangs:
            self.hangs.wait(5)
        self.initialised += 1
        return self

    def terminate(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.initialised -= 1
        if self.stream:
            self.stream.active = False

    def get_device_count(self) -> int:
        return len(self.devices)

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return self.devices[index]

    def get_host_api_info_by_index(self, index: int) -> dict[str, Any]:
        return {"name": "FAKE"}

    def get_default_output_device_info(self) -> dict[str, Any]:
        if self.default is None:
            raise OSError("No Default Output Device Available")
        return {"index": self.default}

    get_default_input_device_info = get_default_output_device_info

    def open(self, **options: Any) -> FakeStream:
        self.threads.add(threading.current_thread().name)
        self.tried.append((options["rate"], options["channels"]))
        if not self.accepts(options["rate"], options["channels"]):
            raise OSError(-9997, "Invalid sample rate")
        self.stream = FakeStream(options.pop("stream_callback"), **options)
        return self.stream
