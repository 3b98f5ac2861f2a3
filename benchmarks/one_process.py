"""The usual voice client: one process, a queue, blocking writes of 2400 samples.

It does what the common examples do. One thread reads the microphone and appends blocks of 2400
samples. Another reads the server and puts its audio into a queue. A third takes audio from the
queue and writes it to PyAudio's blocking stream, 2400 samples at a time. On ``speech_started`` the
queue is drained. Nothing is ever truncated. The client prints the time of ``speech_started``, in ns
of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import base64
import json
import queue
import sys
import threading
import time

import pyaudio
import websocket

RATE = 24_000
BLOCK = 2400


class Client:
    """A session, a microphone and a speaker."""

    def __init__(self, url: str, silence_ms: int) -> None:
        self._socket = websocket.create_connection(
            f"{url}?model=gpt-realtime", suppress_origin=True
        )
        self._sending = threading.Lock()
        self._silence_ms = silence_ms
        self._queue: queue.Queue[bytes] = queue.Queue()
        audio = pyaudio.PyAudio()
        self._microphone = audio.open(
            rate=RATE, channels=1, format=pyaudio.paInt16, input=True, frames_per_buffer=BLOCK
        )
        self._speaker = audio.open(
            rate=RATE, channels=1, format=pyaudio.paInt16, output=True, frames_per_buffer=BLOCK
        )

    def run(self) -> None:
        """Converse until the server hangs up."""
        detection = {"type": "server_vad", "silence_duration_ms": self._silence_ms}
        audio = {"input": {"turn_detection": detection}}
        self._send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        self._send({"type": "response.create"})
        for work in (self._listen, self._play):
            threading.Thread(target=work, daemon=True).start()
        while text := self._socket.recv():
            self._on_event(json.loads(text), time.monotonic_ns())

    def _on_event(self, event: dict[str, str], now: int) -> None:
        if event["type"] == "response.output_audio.delta":
            pcm = base64.b64decode(event["delta"])
            for at in range(0, len(pcm), 2 * BLOCK):
                self._queue.put(pcm[at : at + 2 * BLOCK])
        elif event["type"] == "input_audio_buffer.speech_started":
            print(f"event {now}", flush=True)
            while not self._queue.empty():
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    break

    def _play(self) -> None:
        while True:
            self._speaker.write(self._queue.get())

    def _listen(self) -> None:
        while True:
            pcm = self._microphone.read(BLOCK, exception_on_overflow=False)
            text = base64.b64encode(pcm).decode("ascii")
            self._send({"type": "input_audio_buffer.append", "audio": text})

    def _send(self, event: dict[str, object]) -> None:
        with self._sending:
            self._socket.send(json.dumps(event))


def main() -> int:
    """Run the client; the arguments are the server's URL and the turn's silence in ms."""
    client = Client(sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    try:
        client.run()
    except websocket.WebSocketConnectionClosedException:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
