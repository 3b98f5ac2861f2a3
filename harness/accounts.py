"""The accounts of a conversation: do the frames sent and the audio heard balance with the reports?

``Ledger`` observes the bus and keeps the data for the accounts. ``places`` finds out, from a
recording of the speaker, which part of which reply was played when. A reply is the rising tone, so
that its pitch tells the place.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness import speech
from harness.listening import FITS
from harness.observer import deliveries
from harness.waves import RATE, Samples, spans
from services.emulator.tone import Tone
from shared import bus, messages, registry
from shared.audio import pcm

#: The length of the chunks that are found in the tone (30 ms) and their distance (60 ms), in
#: samples. Up to ``FADE`` samples (4 ms) at both ends of a sound may be a fade.
PIECE, STEP, FADE = RATE * 30 // 1000, RATE * 60 // 1000, RATE * 4 // 1000
#: A shorter chunk is too short to be found in the tone: 4 ms, in samples.
LEAST = RATE * 4 // 1000
#: The longest silence within one chunk, ms: the tone contains no longer silence.
GAP_MS = 2
#: A sound that ends this shortly before the end of a recording may go on after it: 25 ms, in
#: samples.
ENDS = RATE * 25 // 1000
#: Sounds that are this far apart belong to two replies, if nothing else decides it, s.
APART_S = 1.0
#: A sound is another reply if its chunk is from the first BEGINNING_MS of the tone and if it comes
#: at least ANEW_S after the sound before it.
BEGINNING_MS, ANEW_S = 10, 0.2
#: A larger step forward in the tone is a hole, ms. An unplugged device loses the audio in its
#: buffer.
HOLE_MS = 40
#: A playback that has published nothing for this long is not running, s.
SILENT_S = 2.0
#: If a stage's last message is older than this, the stage may have messages to read, ns.
BEHIND_NS = 100_000_000
#: The frames that may be under way while they are counted, and the frames that a killed publisher
#: may lose.
UNDER_WAY, OF_A_RESTART = 12, 12


@dataclass
class Played:
    """One reply at the speaker. Times are monotonic s; positions in the reply are ms."""

    begun_s: float
    whole_ms: float = 0.0  # how much of its beginning was played without a hole
    last_ms: float = 0.0  # the last position that was played
    ended_s: float = 0.0
    hole: bool = False

    def add(self, ms: float) -> None:
        """Extend the piece by this long."""
        self.last_ms += ms
        if not self.hole:
            self.whole_ms += ms


@dataclass
class SpeakerSound:
    """Sound at the speaker, and the moment at which it begins."""

    begun_s: float
    samples: Samples


class Tones:
    """Finds chunks of the tone in a recording."""

    def __init__(self, seconds: float) -> None:
        samples = round(seconds * RATE)
        self._tone = np.frombuffer(Tone(samples).read(0, samples), "<i2")

    def places(self, recordings: Sequence[SpeakerSound]) -> list[Played]:
        """Return the replies in the order in which they were played."""
        found: list[Played] = []
        for recording in recordings:
            # A busy machine makes gaps of some ms. A chunk must not contain a gap.
            for begin, end in spans(recording.samples, gap_ms=GAP_MS):
                begun_s = recording.begun_s + begin / RATE
                points = self._points(end - begin)
                for at, size in points:
                    piece = recording.samples[begin + at : begin + at + size]
                    place = speech.find(piece, self._tone)
                    if place.correlation > FITS:
                        self._add(found, begun_s + at / RATE, samples_ms(place.at), size)
                # A sound long after the last, or at the end of a recording, is another reply.
                if not points and (
                    end > len(recording.samples) - ENDS
                    or (found and begun_s - found[-1].ended_s > APART_S)
                ):
                    continue
                if found:
                    found[-1].ended_s = recording.begun_s + end / RATE
                    if not points:
                        # The sound is too short to be found, so it continues the sound before it.
                        found[-1].add(samples_ms(end - begin))
        return found

    def _points(self, length: int) -> list[tuple[int, int]]:
        """Return places and sizes of the chunks to find in a stretch; none if it is too short."""
        size = min(PIECE, length - 2 * FADE)
        if size < LEAST:
            return []
        last = length - FADE - size
        return [(at, size) for at in (*range(FADE, last, STEP), last)]

    def _add(self, found: list[Played], now_s: float, at_ms: float, size: int) -> None:
        end_ms = at_ms + samples_ms(size + FADE)
        current = found[-1] if found else None
        # Only sound that starts with the beginning of the tone is a new reply
        # (or, if that was cut at once, sound that starts from the beginning a moment later).
        again = at_ms < BEGINNING_MS and current is not None and now_s - current.ended_s > ANEW_S
        if current is None or again or at_ms < min(current.last_ms - HOLE_MS, 100):
            current = Played(now_s - at_ms / 1000, hole=at_ms > 100 + HOLE_MS)
            found.append(current)
        elif at_ms > current.last_ms + STEP * 1000 / RATE + HOLE_MS:
            current.hole = True
        if not current.hole:
            current.whole_ms = max(current.whole_ms, end_ms)
        current.last_ms = end_ms
        current.ended_s = now_s


@dataclass
class _Count:
    """The counts of a stage's process between two of its health messages."""

    first_ns: int = 0
    last_ns: int = 0
    first: int = 0
    last: int = 0


@dataclass
class Item:
    """A reply's audio, according to the bus."""

    begun_ns: int  # when `heard` first named it


@dataclass
class Ledger:
    """Observes the bus on a thread, and keeps the data for the accounts."""

    directory: Path
    keep_sound: bool  # the samples that the device was given
    items: dict[str, Item] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)  # faults, such as more heard than received
    # The messages that uplink and link had to read: the time of publication, ns, and the place in
    # the message's sequence. A frame's sequence is its stream. Frames that the microphone or echo
    # lost leave a gap in the stream, and uplink accounts for the gap.
    _frames: list[tuple[int, int, int]] = field(default_factory=list)  # ns, stream, frame
    _events: list[tuple[int, int, int]] = field(default_factory=list)  # ns, epoch, seq
    _uplinks: dict[int, _Count] = field(default_factory=dict)  # by pid
    _links: dict[int, _Count] = field(default_factory=dict)
    #: By pid, until the count begins: the place of the last message minus the messages counted.
    _behind: dict[int, int] = field(default_factory=dict)
    _sent: dict[int, int] = field(default_factory=dict)  # by session
    _sound: dict[int, list[tuple[int, int, bytes]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _sound_ns: int = 0  # when the newest of them was published

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop observing."""
        self._ending.set()
        self._thread.join()

    def wait_until_begun(self, seconds: float) -> None:
        """Wait until the ledger compares with the counters of uplink and link."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._uplinks and self._links, seconds):
                raise AssertionError(f"no counters of uplink and link within {seconds:g} s")

    def recordings(self) -> list[SpeakerSound]:
        """Return the samples that the devices were given so far, one recording per opening."""
        made = []
        now_ns = time.monotonic_ns()
        with self._changed:
            # Without a playback no more samples come.
            self._changed.wait_for(lambda: self._sound_ns > now_ns, SILENT_S)
            for frames in self._sound.values():
                first, last = frames[0][1], frames[-1][1] + len(frames[-1][2]) // 2
                samples = np.zeros(last - first, np.int16)
                for _, position, payload in frames:
                    at = position - first
                    samples[at : at + len(payload) // 2] = np.frombuffer(payload, "<i2")
                # A device that catches up stamps its samples late, never early.
                begun = min(ns / 1e9 - (place - first) / RATE for ns, place, _ in frames)
                made.append(SpeakerSound(begun, samples))
        return made

    def unbalanced(self) -> list[str]:
        """Return the frames and events so far that do not add up, a line each."""
        with self._changed:
            said = list(dict.fromkeys(self.wrong))
            for name, counts, passed in (
                ("uplink", self._uplinks, self._frames),
                ("link", self._links, self._events),
            ):
                for pid, count in counts.items():
                    published, runs = _between(passed, count.first_ns, count.last_ns)
                    accounted = count.last - count.first
                    off = abs(published - accounted)
                    if off > UNDER_WAY + OF_A_RESTART * (runs - 1):
                        said.append(
                            f"{name} (pid {pid}) accounts for {accounted} messages of {published}"
                        )
        return said

    def _listen(self) -> None:
        kinds: list[type[messages.Message]] = [
            messages.MicClean,
            messages.ClientEvent,
            messages.LinkState,
            messages.Heard,
            messages.FlushReport,
        ]
        kinds += [messages.SpeakerFrame] if self.keep_sound else []
        rows = [registry.of(kind) for kind in kinds]
        rows += [registry.health("uplink"), registry.health("link")]
        for found in deliveries(rows, self.directory, self._ending):
            with self._changed:
                for delivery in found:
                    self._take(delivery)
                self._changed.notify_all()

    def _take(self, delivery: bus.Delivery[messages.Message]) -> None:
        stamp = delivery.stamp
        match delivery.message:
            case messages.MicClean() as frame:
                self._frames.append((stamp.t, frame.stream, frame.position // pcm.FRAME))
            case messages.ClientEvent():
                self._events.append((stamp.t, stamp.epoch, stamp.seq))
            case messages.SpeakerFrame() as played:
                sound = (played.played_ns, played.position, played.payload)
                self._sound[played.stream].append(sound)
                self._sound_ns = stamp.t
            case messages.LinkState() as link:
                self._sent[link.session] = max(self._sent.get(link.session, 0), link.sent)
            case messages.Heard() | messages.FlushReport() as heard:
                for item in heard.items:
                    if item.heard > item.received:
                        self.wrong.append(f"{item.item_id}: more heard than received")
                    if item.heard and item.item_id not in self.items:
                        self.items[item.item_id] = Item(stamp.t)
            case messages.Health() as health:
                self._health(delivery.topic.publisher, stamp.t, health)

    def _health(self, stage: str, now_ns: int, health: messages.Health) -> None:
        counted = health.counters
        if stage == "uplink":
            names = tuple(f"frames_{what}" for what in ("sent", "unsent", "late", "lost", "silent"))
            counts, total = self._uplinks, sum(counted.get(name, 0) for name in names)
        else:
            waste = ("events_unsent", "events_expired", "lost.client.event")
            counts, total = self._links, sum(counted.get(name, 0) for name in waste)
            total += sum(self._sent.values())
        passed = self._frames if stage == "uplink" else self._events
        if not passed or now_ns - passed[-1][0] > BEHIND_NS:
            # The stage has counted messages that the ledger, which is behind, has not seen yet.
            return
        count = counts.get(health.pid)
        if count is None:
            # A stage that has just started still reads messages that waited for it. It has caught
            # up when it counts as many messages as pass.
            behind = passed[-1][2] - total
            before = self._behind.get(health.pid)
            self._behind[health.pid] = behind
            if counted and before is not None and abs(behind - before) <= UNDER_WAY:
                counts[health.pid] = _Count(now_ns, now_ns, total, total)
        else:
            count.last_ns, count.last = now_ns, total


def _between(
    passed: Sequence[tuple[int, int, int]], first_ns: int, last_ns: int
) -> tuple[int, int]:
    """Return how many places passed in a time, gaps included, and in how many sequences."""
    numbers: dict[int, list[int]] = defaultdict(list)
    for at, sequence, place in passed:
        if first_ns <= at < last_ns:
            numbers[sequence].append(place)
    total = sum(max(found) - min(found) + 1 for found in numbers.values())
    return total, max(1, len(numbers))


def samples_ms(samples: int) -> float:
    """Return a length in ms, not rounded."""
    return samples * 1000 / pcm.RATE
