"""The rules of playback. The kit is its downlink and its vad, and listens to its speaker."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from commands.check.bench import PATIENCE_S
from commands.check.common import EXACT
from commands.check.flushes import Flushes
from commands.check.replies import Item
from commands.check.rules import Broken, Rule, needed
from shared import messages
from shared.audio.pcm import FRAME, RATE

#: The playhead is due every 0.1 s while something plays; it may be late by this much, s.
HEARD_S = 1.0
#: On average the playhead must be published after this much sound at the latest, s: twice the 0.1 s
#: that the rules ask for, because a busy machine may delay a message.
STEP_S = 0.2
#: A smaller step of the playhead, samples, is that of a heard for another reason: 50 ms.
LEAST_STEP = RATE // 20
#: A speaker's clock may differ from the machine's by this share over the whole check.
PACE = 0.2


class Playback(Flushes):
    """The check of a playback."""

    stage = "playback"
    neighbours = ("downlink", "vad")
    reads = ("reply.audio", "reply.state", "flush")

    _played: Item | None = None
    _counted: Item | None = None  # the played item, if heard was right about it
    _begun = 0

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of playback."""
        self.bench.pump(0)
        return [
            Rule("plays", "plays a reply as it came, without a gap", self._plays),
            Rule("heard", "publishes how far the reply was heard while it plays", self._heard),
            Rule("silence", "falls silent at a flush", self._silence),
            Rule("playhead", "publishes heard after each 100 ms of sound", self._playhead),
            Rule("report", "reports to the sample how much of a cut item was heard", self._report),
            Rule("once", "answers each new flush once, and an old one never", self._once),
            Rule("generation", "never plays audio of an older generation", self._generation),
            Rule("interrupted", "never plays an interrupted response again", self._interrupted),
            Rule("state", "never plays audio older than reply.state", self._state),
            Rule("lost flush", "cuts audio older than the newest that came", self._lost_flush),
            Rule("out of band", "plays out-of-band audio through a flush", self._out_of_band),
            Rule("last", "takes an empty last chunk for the item's end", self._last),
            Rule("gap", "counts nothing as heard that follows a gap", self._gap),
            Rule("heard first", "publishes heard before each flush report", self._heard_first),
            Rule("held", "holds reports while no consumer is there", self._held),
            Rule("frames", "publishes all that the speaker gets in frames of 20 ms", self._frames),
        ]

    def probe(self) -> str:
        """Play a short item in a newer generation."""
        self._flush()
        since = self.bench.now
        self._publish_state()
        item = self._say(0.2)
        self._wait_sound(item, since, 1)
        self._quiet(item, since)
        return "it plays the next reply"

    # the rules

    def _plays(self) -> str:
        self._publish_state()
        self._begun = self.bench.now
        self._played = item = self._say(0.6)
        self._wait_sound(item, self._begun, len(item.pcm))
        self._quiet(item, self._begun)
        stream = b"".join(
            a.message.payload for a in self.bench.arrivals("speaker.frame", self._begun)
        )
        pcm = np.frombuffer(stream, np.int16)
        [sounding] = np.nonzero(pcm)
        played = pcm[sounding[0] : sounding[0] + len(item.pcm)]
        if not np.array_equal(played, item.pcm):
            same = int(np.count_nonzero(played == item.pcm[: len(played)]))
            raise Broken(
                f"{len(item.pcm) - same} of {len(item.pcm)} samples are not where they belong"
            )
        return f"{len(item.pcm)} samples"

    def _heard(self) -> str:
        item, bench = needed(self._played), self.bench
        size = len(item.pcm)
        bench.until(lambda: any(i.heard >= size for i in self._items(self._begun, item)), 1)
        bench.rest(0.1)
        told = [
            (a, seen)
            for a in bench.arrivals("heard", self._begun)
            if isinstance(a.message, messages.Heard)
            for seen in a.message.items
            if seen.item_id == item.item_id
        ]
        if not told:
            raise Broken("heard never named the item")
        sounding = next(
            (
                a.stamp.t
                for a in bench.arrivals("speaker.frame", self._begun)
                if any(a.message.payload)
            ),
            None,
        )
        if sounding is None:
            raise Broken(f"heard says {told[-1][1].heard} samples: nothing came from the speaker")
        ended = sounding + size * 1_000_000_000 // RATE
        before, last_ns = 0, sounding
        for arrival, seen in told:
            at_ns = arrival.stamp.t
            if seen.heard < before:
                raise Broken(f"heard went back from {before} to {seen.heard} samples")
            most = (at_ns - sounding) / 1e9 * RATE + HEARD_S / 2 * RATE
            if seen.heard > most:
                raise Broken(f"heard said {seen.heard} samples when at most {most:.0f} had sounded")
            if last_ns < ended and at_ns - last_ns > HEARD_S * 1e9:
                raise Broken(f"{(at_ns - last_ns) / 1e9:.2f} s passed without heard")
            before, last_ns = seen.heard, at_ns
        moving = {seen.heard for _, seen in told if 0 < seen.heard < size}
        if not moving:
            raise Broken("heard was published only before and after the reply, not while it played")
        final = told[-1][1]
        if (final.heard, final.received) != (size, size):
            raise Broken(f"heard {final.heard} of {final.received} samples at the end, not {size}")
        self._counted = item
        return f"{len(moving)} times within {size / RATE:.1f} s"

    def _playhead(self) -> str:
        flush, sound, steps = needed(self._cut_flush), 0, 0
        for since, item in (
            (self._begun, needed(self._counted)),
            (self._cut_since, needed(self._cut)),
        ):
            # The flush brings one more heard, whose place the report rule checks.
            places = sorted(
                seen.heard
                for heard in self.bench.all(messages.Heard, since)
                for seen in heard.items
                if seen.item_id == item.item_id and heard.generation < flush.generation
            )
            before = 0
            for place in places:
                if place - before >= LEAST_STEP:
                    steps, sound, before = steps + 1, sound + place - before, place
        step_s = sound / RATE / max(1, steps)
        if step_s > STEP_S:
            raise Broken(f"heard moved {steps} times in {sound / RATE:.2f} s of sound")
        return f"{step_s * 1000:.0f} ms on average"

    def _last(self) -> str:
        since = self.bench.now
        self._publish_state()
        item = self._item(0.5)
        size = len(item.pcm)
        self._chunk(item, 0, size)
        self._wait_sound(item, since, RATE // 10)
        if any(i.done for i in self._items(since, item)):
            raise Broken("heard said done before the last chunk came")
        self._chunk(item, size, size, last=True)
        self._quiet(item, since)
        self.bench.until(lambda: any(i.done for i in self._items(since, item)), 1)
        if not any(i.done for i in self._items(since, item)):
            raise Broken("heard never said done")
        # The end of the next item comes after the item was played out.
        since = self.bench.now
        item = self._item(0.2)
        size = len(item.pcm)
        self._chunk(item, 0, size)
        self._wait_sound(item, since, size)
        self._quiet(item, since)
        self._chunk(item, size, size, last=True)
        if not self.bench.until(lambda: any(i.done for i in self._items(since, item)), 2):
            raise Broken("heard never said done of an item whose last came after its sound")
        return ""

    def _gap(self) -> str:
        since = self.bench.now
        item = self._item(0.8)
        size = len(item.pcm)
        before, after = size // 4, size // 2
        self._chunk(item, 0, before)
        self._chunk(item, after, size, last=True)
        self._wait_sound(item, since, 1)
        self._quiet(item, self.bench.now)
        flush = self._flush(item)
        self.bench.until(lambda: self._reports(flush), PATIENCE_S)
        told = [i for r in self._reports(flush) for i in r.items if i.item_id == item.item_id]
        if not told:
            raise Broken("the report of the next flush does not name the item")
        if told[0].heard != before or not told[0].broken:
            raise Broken(
                f"the report says {told[0].heard} samples heard, broken {told[0].broken}:"
                f" the gap began at {before}"
            )
        return ""

    def _frames(self) -> str:
        frames = [
            (a, a.message)
            for a in self.bench.arrivals("speaker.frame")
            if isinstance(a.message, messages.SpeakerFrame)
        ]
        if len(frames) < 50:
            raise Broken(f"{len(frames)} frames came in the whole check")
        first_at, first = frames[0]
        end = first.position
        for arrival, frame in frames:
            if frame.stream >= EXACT:
                raise Broken(f"stream {frame.stream} is not below 2^53")
            if frame.stream != first.stream:
                # the stage ended and was started anew
                first_at, first, end = arrival, frame, frame.position
            if len(frame.payload) != FRAME * 2:
                raise Broken(f"a frame has {len(frame.payload) // 2} samples, not {FRAME}")
            if frame.position != end:
                raise Broken(f"a frame begins at sample {frame.position}, not at {end}")
            ahead_s = (frame.played_ns - arrival.stamp.t) / 1e9
            if not -2 < ahead_s < 2:
                raise Broken(f"a frame's played_ns is {ahead_s:.1f} s from when it was published")
            end += FRAME
        took = (arrival.stamp.t - first_at.stamp.t) / 1e9
        pace = (end - first.position) / RATE / took if took else 0.0
        if took > 1 and not 1 - PACE < pace < 1 + PACE:
            raise Broken(f"{pace:.2f} s of audio were given to the speaker in a second")
        return f"{len(frames)} frames, at {pace:.2f} of real time"
