"""The rules of playback about flushes: it falls silent, and reports what was heard."""

from __future__ import annotations

import time

from commands.check.bench import PATIENCE_S
from commands.check.replies import LISTEN_S, Item, Replies
from commands.check.rules import Broken, Doubtful, NotTried, needed
from shared import messages, registry
from shared.audio.pcm import RATE

#: A flushed item must be silent after this long, s. Our own playback takes about 10 ms; this is for
#: devices with long buffers and for busy machines.
SILENT_S = 1.0
#: A fade that ends in a sample of zero cannot be told from the silence after it, samples.
UNSEEN = 1


class Flushes(Replies):
    """The rules about flushes. Each method returns what was seen, or raises Broken or NotTried."""

    _cut: Item | None = None
    _cut_flush: messages.Flush | None = None
    _cut_since = 0

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
            raise Broken(f"{len(reports)} reports came for the item that newer audio cut")
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
