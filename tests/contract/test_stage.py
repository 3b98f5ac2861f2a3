"""The loop of a stage and its command line, in the test's process, some with a simulated clock."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import bus, messages, registry
from shared.directory import BusError
from shared.exit_codes import DONE, FAILED, RUNNING
from shared.lock import AlreadyRunning, take_lock
from shared.stage import Failure, Stage
from tests.support.frames import audio, frames, mic
from tests.support.stages import Open, Run
from tests.support.wires import PATIENCE_S, Wires, taking

pytestmark = pytest.mark.contract


class Clock:
    """A clock that advances only while the loop waits, and a poller that does not wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> list[Any]:
        self.now += max(0.0, seconds)
        return []

    def watch(self, what: object) -> None:
        """Do nothing: no message ever arrives."""


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("shared.now.monotonic", clock.monotonic)
    monkeypatch.setattr("shared.stage.Poller", lambda: clock)
    return clock


# timers


def test_timers_run_when_they_are_due(open_stage: Open, clock: Clock) -> None:
    stage = open_stage("capture")
    ran: list[tuple[str, float]] = []

    def note(what: str) -> Callable[[], None]:
        return lambda: ran.append((what, round(clock.now - 1000, 3)))

    stage.every(0.25, note("often"))
    stage.every(0.4, note("sometimes"))
    stage.after(0.3, note("once"))
    stage.after(1.0, stage.stop)
    assert stage.loop() == DONE
    assert ran == [
        ("often", 0.25),
        ("once", 0.3),
        ("sometimes", 0.4),
        ("often", 0.5),
        ("often", 0.75),
        ("sometimes", 0.8),
    ]


def test_beats_that_were_missed_are_not_made_up_for(open_stage: Open, clock: Clock) -> None:
    stage = open_stage("capture")
    ran: list[float] = []

    def stall() -> None:
        clock.now += 5

    stage.every(0.1, lambda: ran.append(round(clock.now - 1000, 3)))
    stage.after(0.15, stall)
    stage.after(5.5, stage.stop)
    stage.loop()
    assert ran == [0.1, 5.15, 5.25, 5.35, 5.45]


def test_a_timer_that_is_slower_than_its_period_leaves_room_for_others(
    open_stage: Open, clock: Clock
) -> None:
    stage = open_stage("capture")
    ran: list[str] = []

    def slow() -> None:
        clock.now += 1
        ran.append("slow")

    stage.every(0.1, slow)
    stage.every(0.3, lambda: ran.append("other"))
    stage.after(8, stage.stop)
    stage.loop()
    assert ran.count("other") >= 4


def test_nothing_runs_after_stop(open_stage: Open, clock: Clock) -> None:
    stage = open_stage("capture")
    stage.after(0.1, lambda: stage.stop(7))
    stage.after(0.1, lambda: pytest.fail("ran after stop"))
    assert stage.loop() == 7


def test_a_set_up_may_stop_it(open_stage: Open, clock: Clock) -> None:
    stage = open_stage("capture")
    stage.stop(FAILED)
    assert stage.loop() == FAILED


# the registry's row


def test_a_stage_reads_and_publishes_only_what_its_row_says(open_stage: Open) -> None:
    stage = open_stage("vad")
    stage.subscribe(messages.MicClean, lambda delivery: None)
    with pytest.raises(ValueError, match=r"^vad does not read mic\.frame: add the topic to"):
        stage.subscribe(messages.MicFrame, lambda delivery: None)
    with pytest.raises(ValueError, match=r"^vad does not read link\.health: add the topic to"):
        stage.subscribe(messages.Health, lambda delivery: None, "link.health")
    with pytest.raises(ValueError, match=r"^vad does not publish mic\.frame: add the topic to"):
        stage.publish(mic(0))


# faults


def test_a_fault_that_repeats_is_logged_again_with_its_count(
    open_stage: Open, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = open_stage("capture")
    for seconds in (0, 1, 9, 11, 12, 40):
        clock.now = 2000.0 + seconds
        stage.count("overflows", 2, "the device lost samples")
    stage.count("another", warning="another thing")
    stage.count("silent")
    assert [record.getMessage() for record in caplog.records] == [
        "the device lost samples",
        "the device lost samples (6 times, 8 in all)",
        "the device lost samples (4 times, 12 in all)",
        "another thing",
    ]
    assert stage.counters == {"overflows": 12, "another": 1, "silent": 1}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_refused_messages_are_logged_when_there_are_more(
    open_stage: Open, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    stage = open_stage("capture")

    def refuse() -> None:
        assert stage.subscriber is not None
        stage.subscriber.losses.refused["topic"] += 1
        stage.subscriber.losses.last = "topic: message refused"

    for seconds in (0.5, 3.5, 14):
        stage.after(seconds, refuse)
    stage.after(19, stage.stop)
    stage.loop()
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "topic: message refused",
        "topic: message refused (2 times, 3 in all)",
    ]


def beats(
    stage: Stage, wires: Wires, number: int, first: Callable[[], object] = lambda: None
) -> list[messages.Health]:
    """Run a stage until it has published its health ``number`` times. Return the healths.

    ``first`` is called after the first one.
    """
    reader = wires.subscriber(registry.health(stage.name))
    found: list[messages.Health] = []

    def look() -> None:
        while (delivery := reader.receive()) is not None:
            assert isinstance(delivery.message, messages.Health)
            found.append(delivery.message)
            if len(found) == 1:
                first()
        if len(found) >= number:
            stage.stop()

    stage.every(0.01, look)
    stage.loop()
    return found


@pytest.mark.usefixtures("quick")
def test_its_health_comes_from_the_loop(open_stage: Open, wires: Wires) -> None:
    stage = open_stage("playback")
    stage.ok, stage.state = False, "no speaker " * 200
    stage.counters["underruns"] = 3
    first, *_, last = beats(stage, wires, 3)
    assert (first.pid, first.ok) == (os.getpid(), False)
    assert first.counters == last.counters == {"underruns": 3}
    # A reader would refuse a longer text.
    assert len(first.state) == 1024


@pytest.mark.usefixtures("quick")
def test_its_health_tells_what_arrives_and_what_does_not(
    open_stage: Open, wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.arrivals.PATIENCE_S", 0.1)
    monkeypatch.setattr("shared.arrivals.PERIODS", 5)
    stage = open_stage("echo")
    stage.subscribe(messages.MicFrame, lambda delivery: None)
    stage.subscribe(messages.SpeakerFrame, lambda delivery: None)
    threads: list[threading.Thread] = []

    def speak() -> None:
        threads.append(speaking(wires, "mic.frame", *(frames(mic(n), n) for n in range(3))))

    found = beats(stage, wires, 20, speak)
    threads[0].join()
    assert found[0].received == {"mic.frame": 0, "speaker.frame": 0}
    assert found[0].silent == []
    assert found[-1].received == {"mic.frame": 3, "speaker.frame": 0}
    assert "speaker.frame" in found[-1].silent


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("endpoint", ["downlink", "flush"])
def test_it_ends_when_another_process_takes_its_endpoint(
    open_stage: Open, wires: Wires, endpoint: str
) -> None:
    stage = open_stage("downlink")
    stage.after(0.1, taking(wires, endpoint))
    with pytest.raises(
        Failure, match=rf"{endpoint}\.ipc: another process runs as downlink and has"
    ):
        stage.loop()
    # The other process keeps the endpoint.
    assert (wires.directory / f"{endpoint}.ipc").is_socket()


def flush() -> messages.Flush:
    return messages.Flush(
        generation=1, session=1, cause="control", event_ns=0, received=[], interrupted=[], active=[]
    )


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def remove(directory: Path) -> None:
    empty(directory)
    directory.rmdir()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "clean",
    [
        lambda directory: (directory / "downlink.ipc").unlink(),
        lambda directory: (directory / "downlink.lock").unlink(),
        lambda directory: (directory / "flush.ipc").unlink(),
        empty,
        remove,
    ],
    ids=["endpoint", "lock", "second endpoint", "emptied", "directory"],
)
def test_it_makes_again_what_was_removed(
    open_stage: Open,
    wires: Wires,
    caplog: pytest.LogCaptureFixture,
    clean: Callable[[Path], None],
) -> None:
    stage = open_stage("downlink")
    before = wires.subscriber(messages.Flush, registry.health("downlink"), observer=True)
    later: list[bus.Subscriber] = []
    seen: dict[str, bus.Delivery[messages.Message]] = {}
    flushes: list[int] = []

    def look() -> None:
        """Clean the directory when the first reader is there, then wait for a second one."""
        while (old := before.receive()) is not None:
            if isinstance(old.message, messages.Flush):
                flushes.append(old.message.generation)
            elif not later and "flush" in stage.publisher.subscribed:
                clean(wires.directory)
                later.append(wires.subscriber(messages.Flush, registry.health("downlink")))
        if later and (new := later[0].receive()) is not None:
            seen[new.topic.name] = new
            stage.publish(flush())
        if len(seen) == 2 and flushes:
            # A second copy is refused again.
            with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
                take_lock("downlink", wires.directory)
            assert wires.directory.stat().st_mode & 0o777 == 0o700
            stage.stop()

    stage.every(0.01, look)
    assert stage.loop() == DONE
    # The reader that had connected has missed nothing.
    assert before.losses.lost == {}
    assert flushes[0] == 1
    assert stage.counters["removed"] == 1
    assert f"{wires.directory} was emptied" in caplog.text


@pytest.mark.usefixtures("quick")
def test_it_ends_if_a_second_copy_has_come_before(
    run: Run, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    def come(stage: Stage) -> None:
        empty(wires.directory)
        taken.append(take_lock("capture", wires.directory))

    taken: list[int] = []
    assert run(set_up=lambda stage: stage.after(0.1, lambda: come(stage))) == RUNNING
    os.close(taken[0])
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("capture is already running (pid ")


@pytest.mark.usefixtures("quick")
def test_it_ends_if_its_place_is_no_longer_safe(open_stage: Open, wires: Wires) -> None:
    def replace() -> None:
        remove(wires.directory)
        wires.directory.mkdir()
        wires.directory.chmod(0o777)

    stage = open_stage("capture")
    stage.after(0.1, replace)
    with pytest.raises(Failure, match="open to other users"):
        stage.loop()


@pytest.mark.usefixtures("quick")
def test_state_is_repeated_with_each_beat(open_stage: Open, wires: Wires) -> None:
    stage = open_stage("link")
    stage.publish(messages.LinkState(state="open", session=3))
    reader = wires.subscriber(messages.LinkState)
    seen: list[bus.Delivery[messages.Message]] = []

    def look() -> None:
        while (delivery := reader.receive()) is not None:
            seen.append(delivery)
        if len(seen) >= 4:
            stage.stop()

    stage.every(0.01, look)
    stage.loop()
    assert {delivery.message for delivery in seen} == {messages.LinkState(state="open", session=3)}


def speaking(wires: Wires, name: str, *messages: list[bytes]) -> threading.Thread:
    """Publish messages from a thread as soon as the stage consumes their topic."""

    def speak() -> None:
        sender = wires.foreign(registry.BY_NAME[name].endpoint, name)
        for each in messages:
            sender.send_multipart(each)

    thread = threading.Thread(target=speak)
    thread.start()
    return thread


@pytest.mark.usefixtures("quick")
def test_lost_and_refused_messages_are_reported_and_the_rest_goes_on(
    open_stage: Open, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    stage = open_stage("playback")
    came: list[int] = []

    def take(delivery: bus.Delivery[messages.ReplyAudio]) -> None:
        came.append(delivery.message.start)

    def look() -> None:
        # The counter changes with the next heartbeat.
        if came == [0, 4, 5] and stage.counters["refused"]:
            stage.stop()

    stage.subscribe(messages.ReplyAudio, take)
    stage.every(0.01, look)
    thread = speaking(
        wires,
        "reply.audio",
        frames(audio(0), 0),
        frames(audio(4), 4),
        [b"!reply.audio", b"nonsense", b""],
        frames(audio(0), 0),
        frames(audio(5), 5),
    )
    assert stage.loop() == DONE
    thread.join()
    assert stage.counters["lost_messages"] == stage.counters["lost.reply.audio"] == 3
    assert stage.counters["refused"] == stage.counters["refused.reply.audio"] == 2
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    assert said[0].startswith("reply.audio: 3 messages lost on the bus: playback or its neighbour")
    assert said[1].startswith("reply.audio: message refused: ")


@pytest.mark.usefixtures("quick")
def test_live_sound_that_is_lost_is_counted_only(
    open_stage: Open, wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    stage = open_stage("echo")
    came: list[int] = []
    stage.subscribe(messages.MicFrame, lambda delivery: came.append(delivery.lost))
    stage.every(0.01, lambda: stage.stop() if len(came) == 2 and stage.counters else None)
    thread = speaking(wires, "mic.frame", frames(mic(0), 0), frames(mic(9), 9))
    stage.loop()
    thread.join()
    assert came == [0, 8]
    assert stage.counters == {"lost.mic.frame": 8}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_flood_of_messages_keeps_no_timer_waiting(open_stage: Open, wires: Wires) -> None:
    stage = open_stage("playback")
    many = 2000
    came: list[int] = []
    at: list[int] = []
    stage.subscribe(messages.ReplyAudio, lambda delivery: came.append(delivery.message.start))
    stage.every(1e-9, lambda: at.append(len(came)) if len(came) < many else stage.stop())
    thread = speaking(wires, "reply.audio", *(frames(audio(n), n) for n in range(many)))
    stage.loop()
    thread.join()
    assert came == list(range(many))
    steps = [b - a for a, b in zip(at, [*at[1:], many], strict=True)]
    assert max(steps) <= 256


# what wakes it


def test_a_thread_can_wake_it(open_stage: Open) -> None:
    stage = open_stage("capture")
    blocks: list[int] = []
    woken: list[int] = []

    def take() -> None:
        woken.append(len(blocks))
        if len(blocks) == 1000:
            stage.stop()

    def speak() -> None:
        for n in range(1000):
            blocks.append(n)
            stage.wake()

    stage.on_wake(take)
    thread = threading.Thread(target=speak)
    thread.start()
    stage.loop()
    thread.join()
    assert woken[-1] == 1000
    stage.wake()  # no error after the end


def test_a_stage_that_pauses_can_be_woken(open_stage: Open) -> None:
    stage = open_stage("recorder")
    stage.pause(PATIENCE_S / 4)
    stage.on_wake(stage.stop)
    began = time.monotonic()
    stage.wake()
    assert stage.loop() == DONE
    assert time.monotonic() - began < PATIENCE_S / 4


def test_waking_never_blocks(open_stage: Open) -> None:
    stage = open_stage("capture")
    woken: list[int] = []

    def take() -> None:
        woken.append(1)
        stage.stop()

    stage.on_wake(take)
    for _ in range(100_000):
        stage.wake()
    stage.loop()
    assert woken == [1]


def test_descriptors_are_watched_until_they_are_not(open_stage: Open) -> None:
    stage = open_stage("link")
    ours, theirs = socket.socketpair()
    read: list[bytes] = []

    def take() -> None:
        read.append(ours.recv(1))
        if read == [b"a", b"b"]:
            stage.unwatch(ours.fileno())
            stage.unwatch(ours.fileno())
            stage.after(0, stage.stop)

    with ours, theirs:
        stage.watch(ours.fileno(), take)
        theirs.send(b"abc")
        stage.loop()
    assert read == [b"a", b"b"]


def test_closing_runs_the_closers_backwards_and_once(open_stage: Open) -> None:
    stage = open_stage("capture")
    closed: list[str] = []
    stage.on_close(lambda: closed.append("first opened"))
    stage.on_close(lambda: closed.append("last opened"))
    stage.stop()
    stage.loop()
    stage.close()
    assert closed == ["last opened", "first opened"]


def test_it_closes_when_a_handler_fails(open_stage: Open) -> None:
    stage = open_stage("capture")
    closed: list[str] = []
    stage.on_close(lambda: closed.append("closed"))

    def fail() -> None:
        raise Failure("no more")

    stage.after(0, fail)
    with pytest.raises(Failure):
        stage.loop()
    assert closed == ["closed"]
    open_stage("capture").close()


# the lock


def test_a_second_copy_is_refused_until_the_first_is_gone(open_stage: Open) -> None:
    first = open_stage("capture")
    with pytest.raises(AlreadyRunning, match=rf"capture is already running \(pid {os.getpid()}\)"):
        open_stage("capture")
    open_stage("uplink")
    first.close()
    open_stage("capture")


def test_a_pid_left_behind_is_written_over(open_stage: Open, wires: Wires) -> None:
    path = wires.directory / "capture.lock"
    path.write_text("99999999999\n")
    stage = open_stage("capture")
    assert path.read_text() == f"{os.getpid()}\n"
    stage.close()
    path.unlink()
    open_stage("capture")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_cannot_be_had_is_one_line(open_stage: Open, wires: Wires) -> None:
    path = wires.directory / "capture.lock"
    target = wires.directory / "target"
    path.symlink_to(target)
    with pytest.raises(BusError, match=r"capture\.lock: .*: remove it or set bus\.directory"):
        open_stage("capture")
    assert not target.exists()
    path.unlink()
    path.mkdir()
    with pytest.raises(BusError, match=r"capture\.lock: Is a directory"):
        open_stage("capture")
