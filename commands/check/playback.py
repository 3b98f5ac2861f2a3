"""The rules of playback. The kit is its downlink and its vad, and listens to its speaker."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from commands.check.bench import PATIENCE_S
from commands.check.common import EXACT
from commands.check.replies import LISTEN_S, Item, Replies
from commands.check.rules import Broken, Doubtful, NotTried, Rule, needed
from shared import messages, registry
from shared.audio.pcm import FRAME, RATE

#: A flushed item must be silent after this long, s. Our own playback takes about 10 ms; this is for
#: devices with long buffers and for busy machines.
SILENT_S = 1.0
#: The playhead is due every 0.1 s while something plays; it may be late by this much, s.
HEARD_S = 1.0
#: On average the playhead must be published after this much sound at the latest, s: twice the 0.1 s
#: that the rules ask for, because a busy machine may delay a message.
STEP_S = 0.2
#: A smaller step of the playhead, samples, is that of a heard for another reason: 50 ms.
LEAST_STEP = RATE // 20
#: A speaker's clock may differ from the machine's by this share over the whole check.
PACE = 0.2
#: A fade that ends in a sample of zero cannot be told from the silence after it, samples.
UNSEEN = 1


class Playback(Replies):
    """The check of a playback."""

    stage = "playback"
    neighbours = ("downlink", "vad")
    reads = ("reply.audio", "reply.state", "flush")

    _played: Item | None = None
    _counted: Item | None = None  # the played item, if heard was right about it
    _cut: Item | None = None
    _cut_flush: messages.Flush | None = None
    _begun = 0
    _cut_since = 0

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of playback."""
        self.bench.pump(0)
        return [
            Rule("plays", "plays a reply as it came, without a gap", self._plays),
            Rule("heard", "publishes how far the reply was heard while it plays", self._heard),
            Rule("silence", "falls silent at a flush", self._silence),
            Rule("playhead", "publishes heard after each 100 ms of sound", self._playhead),
            Rule("report", "reports to the sample what was heard of what was cut", self._report),
            Rule("once", "answers each new flush once, and an old one never", self._once),
            Rule("generation", "never plays audio of an older generation", self._generation),
            Rule("interrupted", "never plays an interrupted response again", self._interrupted),
            Rule("state", "never plays audio older than reply.state", self._state),
            Rule("lost flush", "cuts what is older than newly arrived audio", self._lost_flush),
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

    def _silence(self) -> str:
        bench = self.bench
        self._cut_since = since = bench.now
        self._cut = item = self._say(2.5)
        self._wait_sound(item, since, RATE // 2)
        self._cut_flush = self._flush(item)
        flushed_ns = time.monotonic_ns()

        def ended() -> bool:
            """Return whether the speaker has got nothing but silence for 0.2 s."""
            frames = bench.all(messages.SpeakerFrame, since)[-10:]
            return not any(any(frame.payload) for frame in frames)

        bench.until(ended, SILENT_S + 0.3)
        late = self._sound(since, 0, flushed_ns + int(SILENT_S * 1e9))
        # Wait: the next rule must not hear the end of this item.
        self._quiet(item, bench.now)
        if late:
            raise Broken(f"it still played {SILENT_S:g} s after the flush")
        after = self._sound(since, 0, flushed_ns) * 1000 // RATE
        return f"{after} ms of sound came after the flush, at most {SILENT_S * 1000:g} allowed"

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

    def _reports(self, flush: messages.Flush) -> list[messages.FlushReport]:
        return [r for r in self.bench.all(messages.FlushReport) if r.generation == flush.generation]

    def _report(self) -> str:
        flush, item = needed(self._cut_flush), needed(self._cut)
        self.bench.until(lambda: self._reports(flush), PATIENCE_S)
        reports = self._reports(flush)
        if not reports:
            raise Broken("no report.flush came for the flush")
        report = reports[0]
        names = [i.item_id for i in report.items]
        if names != [item.item_id]:
            raise Broken(f"the report names {names}, not the item that was cut: {item.item_id}")
        if (report.session, report.cause, report.event_ns) != (
            flush.session,
            flush.cause,
            flush.event_ns,
        ):
            raise Broken("session, cause and event_ns of the report are not the flush's")
        [seen] = report.items
        played = self._sound(self._cut_since, item.sign)
        if not played <= seen.heard <= played + UNSEEN:
            raise Broken(f"the report says {seen.heard} samples, the speaker got {played}")
        if seen.received != len(item.pcm):
            raise Broken(f"the report says {seen.received} were received, not {len(item.pcm)}")
        return f"{seen.heard} of {seen.received} samples"

    def _once(self) -> str:
        since = self.bench.now
        older, flush = self._flush(), self._flush()
        self._flush(generation=flush.generation)
        self._flush(generation=older.generation)
        self.bench.rest(LISTEN_S)
        reports = [r.generation for r in self.bench.all(messages.FlushReport, since)]
        if reports.count(flush.generation) != 1:
            count = reports.count(flush.generation)
            raise Broken(f"{count} reports came for a flush while nothing played")
        if len(reports) > 2:
            raise Broken("a flush that was not newer than the last one was answered")
        return "4 flushes, 2 of them new"

    def _generation(self) -> str:
        since = self.bench.now
        self._say(0.4, generation=self.generation - 1)
        return self._silent_but_for(since, "an older generation")

    def _interrupted(self) -> str:
        # None of the response was played before, so only the flush tells playback about it.
        never = self._item(0.4)
        self._flush(never)
        since = self.bench.now
        self._say(0.4, response_id=never.response_id)
        return self._silent_but_for(since, "a response that the flush named")

    def _state(self) -> str:
        before, self.generation = self.generation, self.generation + 1
        self._publish_state()
        # Both are on one socket, so playback reads the state before the audio.
        since = self.bench.now
        self._say(0.4, generation=before)
        return self._silent_but_for(since, "audio older than reply.state's generation")

    def _lost_flush(self) -> str:
        bench = self.bench
        self._flush()
        self._publish_state()
        since = bench.now
        older = self._say(1.5)
        self._wait_sound(older, since, RATE // 4)
        self.generation += 1
        self._publish_state()
        newer = self._say(0.3, -1)
        at_ns = time.monotonic_ns()
        self._wait_sound(newer, since, 1)
        self._quiet(newer, bench.now)
        late = self._sound(since, older.sign, at_ns + int(SILENT_S * 1e9))
        if late:
            raise Broken(f"{late / RATE:.2f} s of the older reply were played after newer audio")

        def found() -> list[messages.FlushReport]:
            told = bench.all(messages.FlushReport, since)
            return [report for report in told if report.generation == self.generation]

        bench.until(found, PATIENCE_S)
        reports = found()
        if [i.item_id for r in reports for i in r.items] != [older.item_id]:
            raise Broken(f"{len(reports)} reports came for what the newer audio cut")
        return f"cause {reports[0].cause!r}"

    def _out_of_band(self) -> str:
        self._flush()
        self._publish_state()
        since = self.bench.now
        item = self._say(0.8, out_of_band=True)
        self._wait_sound(item, since, RATE // 5)
        self._flush()
        self._quiet(item, self.bench.now)
        played = self._sound(since, item.sign)
        if played != len(item.pcm):
            raise Broken(f"{played / RATE:.2f} s of {len(item.pcm) / RATE:.1f} s were played")
        return ""

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

    def _heard_first(self) -> str:
        heard: dict[int, int] = {}  # the generation of the last heard, by epoch
        count = 0
        for arrival in self.bench.heard:
            message, epoch = arrival.message, arrival.stamp.epoch
            if isinstance(message, messages.Heard):
                heard[epoch] = max(heard.get(epoch, 0), message.generation)
            # A report that was held comes under the consumers' name alone.
            elif isinstance(message, messages.FlushReport) and not arrival.consumed:
                count += 1
                if heard.get(epoch, 0) < message.generation:
                    raise Broken(
                        f"the report of generation {message.generation} came before a heard of"
                        " that generation"
                    )
        return f"{count} reports"

    def _held(self) -> str:
        bench = self.bench
        if not any(a.consumed and a.topic == "report.flush" for a in bench.heard):
            raise NotTried("no report came as !report.flush")
        # One consumer more comes and leaves: a stage that notices only the first to come and the
        # last to leave counts wrong.
        rows = [registry.BY_NAME["report.flush"], registry.BY_NAME["heard"]]
        other = bench.connect(rows, consume=True)
        bench.first_of_each(other, ["heard"], 1.2)
        for socket in other:
            socket.close()
        with bench.without(["!report.flush", "report.flush"]):
            bench.rest(0.2)
            flush = self._flush()
            bench.rest(0.3)
        bench.until(lambda: self._reports(flush), PATIENCE_S / 2)
        if self._reports(flush):
            return "a report of 0.3 s before"
        why = "a report that was published while no consumer was there did not come"
        if self.welcomes is False:
            raise Doubtful(f"{why}: a stage with a PUB socket may leave that out")
        raise Broken(why)

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
