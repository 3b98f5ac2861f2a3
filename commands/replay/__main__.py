"""``bargein replay FILE``: play a recording of the bus again, and run real stages on it.

Without ``--stages`` the recorded messages are published on a private bus, for ``bargein tap`` and
other observers. With ``--stages`` the named stages run again on the recorded messages, with the
clocks of the recording. Each difference from the recording is printed; if there is one, the exit
code is 1.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from commands import description
from commands.replay import differences
from commands.replay.driving import (
    NOT_REPLAYED,
    Pace,
    Player,
    ReplayError,
    arguments,
    functions,
    replay,
    seeds,
    started_ns,
)
from commands.replay.speaker import Speaker
from shared import bus, messages, recording, registry
from shared.command_line import Parser
from shared.numbers import SUFFIX
from shared.recording import Recorded, Recording
from shared.replayed import Begin

#: Playback is compared from this long after the first call of its device, ns: two frames.
BEGINNING_NS = 40_000_000
#: The stages that can be replayed.
REPLAYED = tuple(name for name in registry.STAGES if name not in NOT_REPLAYED)


def run(
    recorded: Sequence[Recorded],
    about: Recording,
    stages: Sequence[str],
    speed: float,
    log: int = subprocess.DEVNULL,
) -> dict[str, list[Recorded]]:
    """Replay the stages; return the messages that each of them published. Raises ReplayError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bargein-replay-")))
        print(f"replay: the private bus is BARGEIN_BUS__DIRECTORY={directory}", file=sys.stderr)
        players: dict[str, Player] = {}
        for stage in stages:
            for name, number in seeds(stage, recorded).items():
                (directory / f"{name}{SUFFIX}").write_text(f"{number:020d}\n", "ascii")
            begin = Begin(started_ns(stage, recorded), about.since_1970_ns)
            speaker = Speaker(recorded) if stage == "playback" else None
            options = arguments(about.settings) + (functions(recorded) if stage == "uplink" else [])
            player = Player(stage, directory, begin, options, log, speaker)
            stack.callback(player.close)
            players[stage] = player
        # Only the paced replay is for watching.
        publishers = {}
        if speed:
            for row in registry.ROWS:
                if row.name not in players and registry.published_by(row.name):
                    publishers[row.name] = bus.Publisher(row.name, directory)
                    stack.callback(publishers[row.name].close)
        replay(recorded, players, publishers, Pace(speed).wait)
        return {stage: player.outputs for stage, player in players.items()}


def called_ns(recorded: Iterable[Recorded]) -> Iterator[int]:
    """Yield when the speaker's device asked for samples, ns."""
    for each in recorded:
        if isinstance(each.message, messages.SpeakerCalls):
            yield from (call.called_ns for call in each.message.calls)


def compare(
    recorded: Sequence[Recorded],
    about: Recording,
    replayed: dict[str, list[Recorded]],
    ignored: frozenset[str],
) -> list[differences.Difference]:
    """Return the differences in all recorded topics of the replayed stages, by their times."""
    found: list[differences.Difference] = []
    for stage, outputs in replayed.items():
        begin_ns = recorded[0].stamp.t
        if stage == "playback":
            # Before the first call of the device, playback of the recording played already.
            begin_ns = next(called_ns(recorded)) + BEGINNING_NS
        span = differences.Span(begin_ns, recorded[-1].stamp.t)
        for name in registry.stage(stage).publishes:
            if name not in about.topics or name in differences.GIVEN:
                continue
            before = [each for each in recorded if each.topic.name == name]
            after = [each for each in outputs if each.topic.name == name]
            found += differences.differences(before, after, ignored, span)
    return sorted(found, key=lambda each: each.at_ns)


def main() -> int:
    """Replay a recording; return the exit code."""
    parser = Parser(prog="bargein replay", description=description(__doc__))
    parser.add_argument("file", type=Path, help="a recording: conversation-….mcap")
    parser.add_argument(
        "--speed", type=float, default=None, metavar="N",
        help="replay N times as fast as the recording; 0: as fast as possible (default: 1; with"
        " --stages: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--stages",
        default="",
        metavar="A,B",
        help=f"the stages to run again: some of {', '.join(REPLAYED)}",
    )
    parser.add_argument(
        "--ignore", default="", metavar="TOPIC.FIELD,…",
        help=f"more fields that are not compared, beside {', '.join(differences.IGNORED)}",
    )  # fmt: skip
    parser.add_argument("--log", action="store_true", help="show the log of the stages")
    options = parser.parse_args()
    stages = [name for name in options.stages.split(",") if name]
    for name in stages:
        if name in NOT_REPLAYED:
            parser.error(f"{name} cannot be replayed: {NOT_REPLAYED[name]}")
        if name not in REPLAYED:
            parser.error(f"no stage {name!r}: expected one of {', '.join(REPLAYED)}")
    speed = options.speed if options.speed is not None else 0.0 if stages else 1.0
    about = Recording()
    try:
        recorded = sorted(recording.read(options.file, about), key=lambda each: each.stamp.t)
        if not recorded:
            raise recording.RecordingError(f"{options.file}: no message of the bus is in it")
        if deaf := [name for name in stages if name in LISTENING and not about.voices]:
            raise ReplayError(f"the recording has no voices, and {deaf[0]} needs them")
        if "playback" in stages and next(called_ns(recorded), None) is None:
            raise ReplayError(
                "the recording does not say when the speaker asked playback for samples: a browser"
                " played it, or an older Bargein recorded it"
            )
        for line in (*about.left_out(), *warnings(recorded, stages)):
            print(f"replay: {line}", file=sys.stderr)
        log = None if options.log else subprocess.DEVNULL
        replayed = run(recorded, about, stages, speed, sys.stderr.fileno() if log is None else log)
    except (recording.RecordingError, ReplayError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    if not stages:
        return 0
    ignored = frozenset([*differences.IGNORED, *options.ignore.split(",")])
    return show(recorded, compare(recorded, about, replayed, ignored), replayed)


#: Stages that listen: without voices there is nothing to hear.
LISTENING = frozenset({"echo", "vad"})


def warnings(recorded: Sequence[Recorded], stages: Sequence[str]) -> list[str]:
    """Return a line for each stage whose first messages are not in the recording."""
    lines = []
    for stage in stages:
        for topic in registry.read_by(stage):
            first = next((r.stamp.seq for r in recorded if r.topic is topic), 0)
            if first and topic.queue is registry.Queue.LOSSLESS:
                lines.append(
                    f"{stage}: the first {first} messages of {topic.name} came before the"
                    " recording: there will be differences at its beginning"
                )
            if lost := differences.missing(r for r in recorded if r.topic is topic):
                lines.append(
                    f"{stage}: the recorder was late, and {lost} messages of {topic.name} are"
                    " missing: there will be differences"
                )
    return lines


def show(
    recorded: Sequence[Recorded],
    found: Sequence[differences.Difference],
    replayed: dict[str, list[Recorded]],
) -> int:
    """Print the differences; return the exit code."""
    begun_ns = recorded[0].stamp.t
    shown: Counter[str] = Counter()
    for each in found:
        shown[each.topic] += 1
        if shown[each.topic] <= differences.SHOWN:
            print(f"{(each.at_ns - begun_ns) / 1e9:9.3f} s  {each.topic}: {each.text}")
    for topic, number in shown.items():
        if number > differences.SHOWN:
            print(f"… and {number - differences.SHOWN} more of {topic}")
    count = sum(map(len, replayed.values()))
    stages = ", ".join(replayed)
    if not found:
        print(f"{stages}: no difference in {count} messages")
    else:
        print(f"{stages}: {len(found)} differences; {count} messages were published")
    return int(bool(found))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
