"""The turns of the person who speaks: how they are found in the audio, committed, and answered."""

from __future__ import annotations

from typing import Any, Final

from services.emulator import ears, formats, transcription
from services.emulator.answers import Answers
from services.emulator.clips import RATE
from services.emulator.conversation import Conversation, Item
from services.emulator.diary import Diary
from services.emulator.options import Faults
from services.emulator.outbox import Outbox, new_id
from services.emulator.responses import Response
from services.emulator.schema import Refused

#: Observed on the live service: it acknowledges a valid commit after about 150 ms, and refuses an
#: invalid one after 0.8 to 1 s.
COMMIT_S: Final = 0.15
COMMIT_ERROR_S: Final = 0.9
#: Time from a commit to its transcription, s. The service promises no time.
TRANSCRIPTION_S: Final = 0.3
#: The transcription of a server that transcribes unasked.
UNASKED: Final = {"model": "whisper-1"}
#: The shortest audio that can be committed, ms: the service's limit.
MIN_COMMIT_MS: Final = 100
#: Windows of 32 ms that one call of ``listen`` processes, in about 4 ms.
_WINDOWS: Final = 2


class Turns:
    """The input audio of a session, the turns in it, and the answers that follow by themselves."""

    def __init__(
        self,
        probability: ears.Probability,
        conversation: Conversation,
        answers: Answers,
        outbox: Outbox,
        diary: Diary,
        session: dict[str, Any],
        faults: Faults,
        late_s: float,
    ) -> None:
        """``late_s``: if not 0, turns are transcribed unasked, this much later than usual, s."""
        self._conversation = conversation
        self._answers = answers
        self._outbox = outbox
        self._diary = diary
        self._session = session
        self._faults = faults
        self._late_s = late_s
        self._live = transcription.Live()
        self._ears = ears.Ears(probability)
        self._decoder = formats.Decoder(formats.PCM)
        #: The number of turns so far.
        self.count = 0
        #: A commit will be acknowledged at this time, s.
        self.committing_until = outbox.now
        #: When the person's silence will be answered, s; None if it will not be.
        self.idle_at: float | None = None
        #: Where in the audio this silence begins, samples.
        self._idle_from = 0
        #: The id that speech_started, or a live word, announced for the turn that goes on.
        self._item_id: str | None = None
        #: Whether a turn will be answered after the response.done of the cancelled response.
        self._answer_waits = False
        self.configure(session)

    @property
    def listening(self) -> bool:
        """Whether there is appended audio that ``listen`` has not processed."""
        return self._ears.waiting

    @property
    def _transcription(self) -> dict[str, Any] | None:
        wanted: dict[str, Any] | None = self._session["audio"]["input"]["transcription"]
        return wanted or (UNASKED if self._late_s else None)

    @property
    def _turn_detection(self) -> dict[str, Any]:
        return self._session["audio"]["input"]["turn_detection"] or {}

    def configure(self, session: dict[str, Any]) -> None:
        """Apply the session's input format and turn detection to the audio from now on."""
        self._session = session
        given = session["audio"]["input"]
        if self._decoder.kind != given["format"]["type"]:
            self._decoder = formats.Decoder(given["format"]["type"])
        self._ears.configure(ears.detection(given["turn_detection"]))
        if given["turn_detection"] is None:
            self._item_id = None
        if self._turn_detection.get("idle_timeout_ms") is None:
            self.idle_at = None

    # The client's events.

    def append(self, audio: str) -> None:
        """Add a chunk of base64 audio to the input. Raises Refused."""
        self._ears.append(self._decoder.decode(audio))

    def commit(self, event_id: str | None) -> None:
        """Make the buffered audio an item after COMMIT_S, or refuse it after COMMIT_ERROR_S.

        ``event_id`` is the id of the client event, which the error names.
        """
        buffered_ms = self._ears.buffered * 1000 / RATE
        now = self._outbox.now
        if buffered_ms < MIN_COMMIT_MS:
            refused = Refused(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least"
                f" {MIN_COMMIT_MS}ms of audio, but buffer only has {buffered_ms:.2f}ms of audio.",
            )
            self._outbox.at(now + COMMIT_ERROR_S, lambda: self._outbox.refuse(refused, event_id))
            return
        item_id = self._end_turn()
        audio = self._ears.commit()
        self.committing_until = max(now, self.committing_until) + COMMIT_S
        self._outbox.at(self.committing_until, lambda: self._committed(item_id, audio))

    def clear(self) -> None:
        """Empty the buffer."""
        self._ears.clear()
        self._item_id = None
        self._outbox.emit({"type": "input_audio_buffer.cleared"})

    # Turn detection.

    def listen(self) -> None:
        """Process a little of the appended audio, in about 4 ms."""
        for found in self._ears.hear(_WINDOWS):
            if isinstance(found, ears.Started):
                self._speech_started(found)
            else:
                self._speech_stopped(found)
        if self._faults.fail_transcription is None and transcription.is_live(self._transcription):
            self._hear_words()

    def _hear_words(self) -> None:
        """Send the words of the turn that goes on, before its commit."""
        samples = self._ears.turn
        if not samples:
            return
        self._item_id = self._item_id or new_id("item")
        for event in self._live.hear(self._item_id, samples):
            self._outbox.emit(event)

    def _speech_started(self, found: ears.Started) -> None:
        self._item_id = new_id("item")
        self.idle_at = None
        self._outbox.emit(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": found.start * 1000 // RATE,
                "item_id": self._item_id,
            }
        )
        self._diary.speech_started(found.start)
        if self._turn_detection.get("interrupt_response"):
            self._answers.interrupt(self._outbox.now)

    def _speech_stopped(self, found: ears.Stopped) -> None:
        item_id = self._end_turn()
        self._outbox.emit(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": found.end * 1000 // RATE,
                "item_id": item_id,
            }
        )
        self._diary.speech_stopped(found.audio)
        self._committed(item_id, found.audio)
        if self._turn_detection.get("create_response"):
            self._answer()

    def _end_turn(self) -> str:
        """Count a turn, and return the id of its item."""
        item_id = self._item_id or new_id("item")
        self._item_id = None
        self.count += 1
        return item_id

    # Items and answers.

    def _committed(self, item_id: str, audio: bytes) -> None:
        head = {"id": item_id, "type": "message", "role": "user"}
        content = [{"type": "input_audio", "transcript": None}]
        item = Item(head, content=content, audio=audio)
        previous = self._conversation.add(item)
        self._outbox.emit(
            {
                "type": "input_audio_buffer.committed",
                "previous_item_id": previous,
                "item_id": item_id,
            }
        )
        self._outbox.announce(item, previous)
        wanted = self._transcription
        if wanted is not None:
            now = self._outbox.now
            due = now + TRANSCRIPTION_S + self._late_s
            self._outbox.at(due, lambda: self._transcribe(item, wanted))

    def _transcribe(self, item: Item, wanted: dict[str, Any]) -> None:
        if self._faults.fail_transcription is not None:
            self._outbox.emit(transcription.failed(item, self._faults.fail_transcription))
            return
        live = transcription.is_live(wanted)
        transcribe = self._live.end if live else transcription.transcribe
        for event in transcribe(item, wanted):
            self._outbox.emit(event)

    def _answer(self) -> None:
        """Answer a turn without a response.create."""
        active = self._answers.active
        if active is not None and active.cancelled():
            # ``response_done`` answers the turn.
            self._answer_waits = True
            return
        try:
            self._answers.begin({}, self._session, self.count, self._outbox.now)
        except Refused as refused:
            self._outbox.refuse(refused, None)

    def response_done(self, response: Response) -> None:
        """Answer a turn that waited for this response.done, and start the idle timeout."""
        now = self._outbox.now
        idle_ms = self._turn_detection.get("idle_timeout_ms")
        if idle_ms is not None and not self._ears.speaking:
            played = max(now, response.plays_until)
            self.idle_at = played + idle_ms / 1000
            # The length of the appended audio at that time, if the client sends it in real time.
            self._idle_from = self._ears.clock + round((played - now) * RATE)
        if self._answer_waits:
            self._answer_waits = False
            self._outbox.at(now, self._answer)

    def answer_silence(self) -> None:
        """Commit the silence since the last reply as a turn, and answer it (idle_timeout_ms)."""
        self.idle_at = None
        end = self._ears.clock
        start = min(self._idle_from, end)
        item_id = new_id("item")
        self._outbox.emit(
            {
                "type": "input_audio_buffer.timeout_triggered",
                "audio_start_ms": start * 1000 // RATE,
                "audio_end_ms": end * 1000 // RATE,
                "item_id": item_id,
            }
        )
        self._diary.idle(self._turn_detection["idle_timeout_ms"])
        buffered = self._ears.commit()
        self._committed(item_id, buffered[max(len(buffered) - 2 * (end - start), 0) :])
        self._answer()
