"""The rules that hold for every stage."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from commands.check.bench import START_S, Bench
from commands.check.conversation import Conversation
from commands.check.lifetime import Lifetime
from commands.check.malformed import malformed
from commands.check.rules import (
    Broken,
    Doubtful,
    NotTried,
    Outcome,
    Rule,
    Verdict,
    judge,
    not_tried,
)
from shared import messages, registry

#: A check takes no longer than about this, s, even if every rule is broken.
LIMIT_S = 28.0
#: The longest time between two messages of a topic that is due each second, s: a busy machine may
#: delay a message by some seconds.
SECOND_S = 4.0
#: A new reader is to get the states at once. On a busy machine that may take this long, s: less
#: than the second between two repetitions, which would bring them as well.
WELCOME_S = 0.6
#: Integers beyond this are not exact in a language whose only numbers are doubles.
EXACT = 2**53


class Check:
    """The check of one stage: its rules in their order, and what they share."""

    stage = ""
    #: The stages in whose place the kit publishes.
    neighbours: tuple[str, ...] = ()
    #: The topics that the stage has to subscribe to.
    reads: tuple[str, ...] = ()

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._conversation: Conversation | None = None
        self._lifetime = Lifetime(self.stage, bench)
        self._health_told = False
        #: Whether a reader that connects late gets the states at once; None: not known.
        self.welcomes: bool | None = None

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of this stage alone."""
        return ()

    def probe(self) -> str:
        """Let the stage do some of its work, and return what was seen. Raise Broken if it fails."""
        raise NotImplementedError

    def rules(self) -> list[Rule]:
        """Return every rule after the first, in the order in which they are tried."""
        rules = [Rule("lock", "holds <stage>.lock, with its pid inside", self._lifetime.lock)]
        if any(registry.BY_NAME[n].queue is registry.Queue.LOSSLESS for n in self.reads):
            rules.append(Rule("consumes", "consumes its lossless topics", self._consumes))
        rules.append(
            Rule("late readers", "sends its states at once to a new reader", self._late_readers)
        )
        rules += self.own_rules()
        if self.reads:
            rules.append(Rule("malformed", "survives malformed messages", self._malformed))
            rules.append(Rule("restart", "survives its neighbours' restart", self._restart))
        rules.append(Rule("health", "publishes its health once a second", self._health))
        if self._states():
            rules.append(Rule("repeats", "repeats its states once a second", self._repeats))
        if self._published(registry.Queue.LOSSLESS):
            rules.append(
                Rule("both names", "sends lossless messages as name and !name", self._both_names)
            )
        rules += [
            Rule("stamps", "stamps each message", self._stamps),
            Rule("second copy", "refuses to start a second time", self._lifetime.second_copy),
            Rule("SIGUSR1", "ends so that it is started again", self._lifetime.ends_for_restart),
            Rule("ends", "ends when it is asked to", self._lifetime.ends),
        ]
        if conversation := self._conversation:
            promise = "takes its part in a conversation with the emulator"
            rules.append(Rule("conversation", promise, conversation.outcome))
        return rules

    def run(
        self, *, own_only: bool = False, conversation: bool = True, limit_s: float = LIMIT_S
    ) -> Iterator[Verdict]:
        """Try every rule, or only those of this stage alone. Yield the verdict on each."""
        self.bench.take(*self.neighbours)
        deadline = time.monotonic() + limit_s
        why = ""
        try:
            first = self._judge(self._first)
            yield first
            if first.outcome is not Outcome.OK:
                why = "the stage did not start"
            elif conversation and not own_only:
                self._conversation = Conversation(self.stage, self.bench.command)
            for rule in self.own_rules() if own_only else self.rules():
                if not why and not self.bench.running and rule.name != "conversation":
                    # Start a stage again that died at one rule, to try the other rules.
                    self.bench.start()
                    why = "" if self._ready() else "the stage does not start again"
                if time.monotonic() > deadline:
                    why = f"{limit_s:g} s were over"
                yield not_tried(rule, why) if why else self._judge(rule)
        finally:
            self.close()
            if self._conversation is not None:
                self._conversation.close()

    def close(self) -> None:
        """End the server or the conversation that the check has started."""

    def _judge(self, rule: Rule) -> Verdict:
        """Try a rule. The first failure also says how the stage describes its health."""
        verdict = judge(rule)
        if verdict.outcome is not Outcome.FAILED or self._health_told:
            return verdict
        health = self.bench.all(messages.Health, topic=f"{self.stage}.health")
        if not health:
            return verdict
        self._health_told = True
        well = "ok" if health[-1].ok else "not ok"
        seen = f"{verdict.seen} (the stage's health: {well}, {health[-1].state!r})"
        return replace(verdict, seen=seen)

    @property
    def _first(self) -> Rule:
        return Rule("starts", "subscribes to its topics, and publishes", self._starts)

    # the rules that every stage has

    def _published(self, queue: registry.Queue) -> list[str]:
        return [row.name for row in registry.published_by(self.stage) if row.queue is queue]

    def _states(self) -> list[str]:
        """Return the names of the stage's state topics but for its health."""
        names = self._published(registry.Queue.STATE)
        return [name for name in names if name != f"{self.stage}.health"]

    def _ready(self) -> bool:
        bench, since = self.bench, self.bench.now
        return bool(
            bench.until(
                lambda: (
                    not bench.running
                    or (all(map(bench.subscribed, self.reads)) and bench.now > since)
                ),
                START_S,
            )
            and bench.running
        )

    def _starts(self) -> str:
        began = time.monotonic()
        self.bench.start()
        if not self._ready():
            self.bench.alive()
            missing = [name for name in self.reads if not self.bench.subscribed(name)]
            if missing:
                raise Broken(f"after {START_S:g} s it does not subscribe to {' '.join(missing)}")
            raise Broken(f"after {START_S:g} s nothing was heard of it")
        return f"after {time.monotonic() - began:.1f} s"

    def _consumes(self) -> str:
        lossless = [n for n in self.reads if registry.BY_NAME[n].queue is registry.Queue.LOSSLESS]
        missing = [n for n in lossless if not self.bench.subscribed(n, consumed=True)]
        if missing:
            names = " ".join(f"!{name}" for name in missing)
            raise Broken(f"it does not subscribe to {names}: nothing waits for it")
        return " ".join(f"!{name}" for name in lossless)

    def _late_readers(self) -> str:
        bench, health = self.bench, f"{self.stage}.health"
        since = bench.now
        # Right after a repetition: the next one is due in a second.
        if not bench.until(lambda: bench.arrivals(health, since), SECOND_S):
            raise NotTried(f"{SECOND_S:g} s passed without {health}")
        repeated_s = bench.arrivals(health)[-1].at_ns / 1e9
        rows = [
            row
            for row in registry.published_by(self.stage)
            if row.queue is registry.Queue.STATE and bench.arrivals(row.name)
        ]
        names = [row.name for row in rows]
        missing = set(names) - self._sent_at_once(rows)
        self.welcomes = not missing
        if not missing:
            return " ".join(names)
        # An XPUB socket without XPUB_VERBOSER reports only the first reader of each topic.
        with bench.without(names):
            bench.rest(1.1 - (time.monotonic() - repeated_s) % 1.0)
            first = self._sent_at_once(rows)
        said = f"a second reader did not get {' '.join(sorted(missing))} at once"
        if first >= missing:
            raise Broken(f"{said}, as the first one did: set XPUB_VERBOSER")
        raise Doubtful(f"{said}: a stage with a PUB socket may leave that out")

    def _sent_at_once(self, rows: list[registry.Topic]) -> set[str]:
        """Connect as a reader of topics. Return those that bring a message at once."""
        reader = self.bench.connect(rows, consume=False)
        found = self.bench.first_of_each(reader, [row.name for row in rows], WELCOME_S)
        for socket in reader:
            socket.close()
        return found

    def _malformed(self) -> str:
        sent = 0
        for name in self.reads:
            for frames in malformed(registry.BY_NAME[name].type):
                self.bench.send(name, *frames)
                sent += 1
        self.bench.rest(0.3)
        self.bench.alive()
        self.probe()
        self.bench.alive()
        return f"{sent} messages"

    def _restart(self) -> str:
        bench = self.bench
        bench.give_back(*self.neighbours)
        bench.rest(0.2)
        bench.alive()
        bench.take(*self.neighbours)
        # its neighbours are its readers as well
        bench.listen_anew()
        if not bench.until(lambda: all(map(bench.subscribed, self.reads))):
            raise Broken("it did not connect to its neighbours again")
        return self.probe()

    def _health(self) -> str:
        return self._each_second(f"{self.stage}.health")

    def _repeats(self) -> str:
        seen = [name for name in self._states() if self.bench.arrivals(name)]
        for name in seen:
            self._each_second(name)
        return " ".join(seen)

    def _each_second(self, topic: str) -> str:
        since = self.bench.now
        if not self.bench.until(lambda: self.bench.arrivals(topic, since), SECOND_S):
            raise Broken(f"{SECOND_S:g} s passed without {topic}: it is due once a second")
        # between two of one process: a stage that another rule made end may take its time
        for before, after in pairwise(self.bench.arrivals(topic)):
            took = (after.stamp.t - before.stamp.t) / 1e9
            if before.stamp.epoch == after.stamp.epoch and took > SECOND_S:
                raise Broken(f"{took:.1f} s passed without {topic}: it is due once a second")
        return ""

    def _both_names(self) -> str:
        count = 0
        for name in self._published(registry.Queue.LOSSLESS):
            observed, consumed = (
                {
                    (a.stamp.epoch, a.stamp.seq)
                    for a in self.bench.heard
                    if a.topic == name and a.consumed is as_consumer
                }
                for as_consumer in (False, True)
            )
            # A message that is published while the kit connects is held for consumers alone, and
            # one message may have come under one name only when the kit went away.
            if len(observed - consumed) > 1 or 2 * len(observed) < len(consumed):
                raise Broken(f"{name}: {len(observed)} messages, but {len(consumed)} as !{name}")
            count += len(observed)
        return f"{count} messages"

    def _stamps(self) -> str:
        if self.bench.unreadable:
            raise Broken(f"{len(self.bench.unreadable)} messages: {self.bench.unreadable[0]}")
        for topic in registry.published_by(self.stage):
            before: messages.Stamp | None = None
            for arrival in self.bench.arrivals(topic.name):
                stamp = arrival.stamp
                if stamp.epoch >= EXACT:
                    raise Broken(f"{topic.name}: epoch {stamp.epoch} is not below 2^53")
                age_s = (arrival.at_ns - stamp.t) / 1e9
                if not -0.05 < age_s < START_S:
                    raise Broken(f"{topic.name}: t is {age_s:.3f} s before its arrival")
                if before is not None and before.epoch == stamp.epoch:
                    if stamp.seq <= before.seq:
                        raise Broken(f"{topic.name}: seq {stamp.seq} after seq {before.seq}")
                    if stamp.t < before.t:
                        raise Broken(f"{topic.name}: t goes back at seq {stamp.seq}")
                before = stamp
        return f"{self.bench.now} messages"
