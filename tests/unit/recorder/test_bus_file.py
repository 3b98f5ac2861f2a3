"""The recording of the bus: what a reader finds, after an end, without one, and without voices."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer

from services.recorder import schemas
from services.recorder.bus_file import BusFile, repair
from services.recorder.settings import settings_to_record
from shared import messages, recording, registry
from shared.audio import pcm
from shared.config import resolve
from shared.messages import Stamp

pytestmark = pytest.mark.unit

MARKER = "sk-markermarkermarker"
SOUND = pcm.from_array(np.arange(1, pcm.FRAME + 1, dtype=np.int16))
WORDS = messages.Transcript(session=1, item_id="i1", role="user", text="Hé!", final=True)
FRAME = messages.MicClean(stream=1, position=0, captured_ns=5, overflows=0, payload=SOUND)
DELTA = messages.ServerEvent(
    session=1,
    received_ns=7,
    payload=b'{"type": "response.output_audio.delta", "delta": "' + base64.b64encode(SOUND) + b'"}',
)
APPEND = messages.ClientEvent(
    session=1,
    payload=b'{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(SOUND) + b'"}',
)
UPDATE = messages.ClientEvent(
    session=1,
    payload=msgspec.json.encode(
        {
            "type": "session.update",
            "session": {
                "instructions": f"Never say {MARKER}.",
                "tools": [
                    {"type": "mcp", "authorization": MARKER, "headers": {"X-Key": "markerheader"}}
                ],
            },
        }
    ),
)
INTERRUPTION = messages.Interruption(
    generation=2, session=1, cause="judged", event_ns=1, flush_ns=2, received_ns=3, silent_ns=4,
    latency_ns=5, reports=[], cancelled=[],
)  # fmt: skip
ALL = [WORDS, FRAME, DELTA, APPEND, UPDATE, INTERRUPTION]


def begin(directory: Path, **changes: Any) -> BusFile:
    options: dict[str, Any] = {
        "topics": registry.BY_NAME,
        "voices": True,
        "max_mb": 100,
        "max_minutes": 60,
        "settings": {},
    }
    return BusFile(directory, **(options | changes))


def write(file: BusFile, *written: messages.Message, at_ns: int = 0) -> bool:
    begun = False
    for seq, message in enumerate(written):
        topic = registry.of(type(message))
        stamp = Stamp(seq=seq, epoch=9, t=at_ns or 1_000_000 + seq)
        begun |= file.write(topic, message, stamp)
    return begun


def read(path: Path) -> list[messages.Message]:
    return [each.message for each in recording.read(path)]


def test_a_reader_gets_what_was_on_the_bus(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, WORDS, FRAME, DELTA, APPEND, INTERRUPTION)
    file.close()
    about = recording.Recording()
    found = list(recording.read(file.path, about))
    assert [each.message for each in found] == [WORDS, FRAME, DELTA, APPEND, INTERRUPTION]
    assert found[1].stamp == Stamp(seq=1, epoch=9, t=1_000_001)
    assert about.complete
    assert about.unreadable == 0
    assert file.path.stat().st_mode & 0o077 == 0


def test_the_mcap_library_finds_foxgloves_types_and_a_schema_for_each_topic(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, *ALL)
    file.close()
    with file.path.open("rb") as opened:
        reader = make_reader(opened)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(ALL) + 1 + 2
        named = {
            channel.topic: summary.schemas[channel.schema_id]
            for channel in summary.channels.values()
        }
        assert named["/person"].name == "foxglove.RawAudio"
        assert named["/log"].name == "foxglove.Log"
        assert {schema.encoding for schema in named.values()} == {"jsonschema"}
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            told = msgspec.json.decode(message.data)
            described = msgspec.json.decode(schema.data)
            assert channel.message_encoding == "json"
            assert set(told) == set(described["properties"]), channel.topic
        sound = next(reader.iter_messages(topics=["/person"]))[2].data
    told = msgspec.json.decode(sound)
    assert base64.b64decode(told["data"]) == SOUND
    assert (told["format"], told["sample_rate"]) == ("pcm-s16", 24000)


def test_a_viewer_gets_a_voice_in_pieces_that_end_at_a_gap_and_at_a_flush(tmp_path: Path) -> None:
    def frame(stream: int, place: int) -> messages.MicClean:
        position, at_ns = place * pcm.FRAME, place * 20_000_000
        return msgspec.structs.replace(
            FRAME, stream=stream, position=position, captured_ns=at_ns, payload=SOUND
        )

    file = begin(tmp_path)
    write(file, frame(1, 1), frame(1, 2), frame(1, 3), frame(1, 5), frame(2, 6))
    file.flush()
    write(file, frame(2, 7), at_ns=2_000_000)
    file.close()
    about = recording.Recording()
    assert len(list(recording.read(file.path, about))) == 6
    with file.path.open("rb") as opened:
        read = make_reader(opened).iter_messages(topics=["/person"])
        told = [msgspec.json.decode(message.data) for _, _, message in read]
    assert [len(base64.b64decode(each["data"])) // len(SOUND) for each in told] == [3, 1, 1, 1]
    begins = [each["timestamp"]["sec"] * 10**9 + each["timestamp"]["nsec"] for each in told]
    assert [(at_ns - about.since_1970_ns) // 20_000_000 for at_ns in begins] == [1, 5, 6, 7]


def assert_plain(schema: dict[str, Any], where: str) -> None:
    """Check that a schema needs no more of a viewer than types, properties and items."""
    assert schema.get("type") in {"object", "array", "string", "integer", "boolean"}, where
    if schema["type"] == "object":
        for name, each in schema["properties"].items():
            assert_plain(each, f"{where}.{name}")
    if schema["type"] == "array":
        assert schema["items"]["type"] != "array", where
        assert_plain(schema["items"], f"{where}[]")


@pytest.mark.parametrize("kind", messages.kinds())
def test_a_schema_is_plain_enough_for_a_viewer(kind: type[messages.Message]) -> None:
    schema = schemas.of(kind)
    assert schema["type"] == "object"
    assert_plain(schema, kind.__name__)


def test_without_its_end_a_file_is_read_as_far_as_it_was_flushed(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, *ALL)
    file.flush()
    whole = file.path.stat().st_size
    write(file, *[WORDS] * 50)
    file.flush()
    cut = tmp_path / "cut.mcap"
    # In the middle of a chunk, as a full disk leaves it.
    cut.write_bytes(file.path.read_bytes()[: whole + 40])
    file.close()
    about = recording.Recording()
    assert len(list(recording.read(cut, about))) == len(ALL)
    assert not about.complete

    assert list(repair(tmp_path)) == [(cut, None)]
    about = recording.Recording()
    assert len(list(recording.read(cut, about))) == len(ALL)
    assert about.complete
    with cut.open("rb") as opened:
        assert len(list(make_reader(opened).iter_messages())) == len(ALL) + 3
    assert list(repair(tmp_path)) == []


def test_a_file_that_is_being_written_is_not_repaired(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, *ALL)
    file.flush()
    assert list(repair(tmp_path)) == []
    file.close()
    assert len(read(file.path)) == len(ALL)


def test_a_file_that_is_no_recording_is_refused_and_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    path.write_text("These are notes.")
    with pytest.raises(recording.RecordingError):
        list(recording.read(path))
    assert list(repair(tmp_path)) == []
    assert path.read_text() == "These are notes."
    with pytest.raises(recording.RecordingError):
        list(recording.read(tmp_path / "missing.mcap"))


def test_a_long_recording_goes_on_in_another_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-(2**15), 2**15, 8000, np.int16)
    loud = msgspec.structs.replace(FRAME, payload=pcm.from_array(noise))
    file = begin(tmp_path, max_mb=1)
    first = file.path
    for _ in range(100):
        if write(file, loud):
            break
        file.flush()
    assert file.path != first
    file.close()
    assert 1_000_000 < first.stat().st_size < 1_200_000
    assert read(file.path) == [loud]


def test_a_recording_goes_on_in_another_file_after_its_time(tmp_path: Path) -> None:
    file = begin(tmp_path, max_minutes=1)
    first = file.path
    later = 2**62
    assert write(file, WORDS, at_ns=later)
    assert file.path != first
    file.close()


def test_no_key_gets_into_a_recording(tmp_path: Path) -> None:
    loaded = resolve(None, {"BARGEIN_SESSION__INSTRUCTIONS": f"Never say {MARKER}."}, [])
    file = begin(tmp_path, settings=settings_to_record(loaded.config))
    echoed = msgspec.structs.replace(
        DELTA, payload=b'{"type":"error","error":{"message":"Bad key: ' + MARKER.encode() + b'"}}'
    )
    write(file, UPDATE, echoed)
    file.close()
    about = recording.Recording()
    texts = [str(each) for each in recording.read(file.path, about)]
    assert len(texts) == 2
    assert "marker" not in "".join([*texts, str(about)])
    assert "Never say" in "".join(texts)  # the rest is there
    assert "session.instructions" in about.settings


def test_without_voices_there_is_silence_of_the_same_length(tmp_path: Path) -> None:
    file = begin(tmp_path, voices=False)
    write(file, *ALL)
    file.close()
    about = recording.Recording()
    words, frame, delta, append, *_ = (each.message for each in recording.read(file.path, about))
    assert not about.voices
    assert words == WORDS
    assert frame.payload == bytes(len(SOUND))
    for event, name in ((delta, "delta"), (append, "audio")):
        assert base64.b64decode(msgspec.json.decode(event.payload)[name]) == bytes(len(SOUND))
    with file.path.open("rb") as opened:
        summary = make_reader(opened).get_summary()
    assert summary is not None
    assert "/person" not in {channel.topic for channel in summary.channels.values()}


def test_an_event_that_is_no_json_is_kept_as_it_is(tmp_path: Path) -> None:
    odd = msgspec.structs.replace(DELTA, payload=b'{"type": "\xff')
    empty = msgspec.structs.replace(DELTA, payload=b"null")
    file = begin(tmp_path)
    write(file, odd, empty)
    file.close()
    assert read(file.path) == [odd, empty]


def test_a_file_that_cannot_be_repaired_keeps_no_other_from_it(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, *ALL)
    file.flush()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(file.path.read_bytes())
    file.close()
    # A directory is as unreadable as the file of another user.
    (tmp_path / "a.mcap").mkdir()
    (tmp_path / "b.mcap").write_bytes(cut.read_bytes())
    (tmp_path / "b.part").mkdir()
    repaired = dict(repair(tmp_path))
    assert repaired.pop(cut) is None
    assert sorted(path.name for path, error in repaired.items() if error) == ["a.mcap", "b.mcap"]
    assert list(tmp_path.glob("*.part")) == [tmp_path / "b.part"]


def test_a_damaged_chunk_is_left_out_and_counted(tmp_path: Path) -> None:
    file = begin(tmp_path)
    write(file, WORDS)
    file.flush()
    whole = file.path.stat().st_size
    write(file, *[FRAME] * 50)
    file.flush()
    damaged = file.path.stat().st_size
    write(file, INTERRUPTION)
    file.close()
    changed = bytearray(file.path.read_bytes())
    changed[whole + (damaged - whole) // 4] ^= 0xFF  # in the chunk: its index comes after it
    file.path.write_bytes(changed)
    about = recording.Recording()
    assert [each.message for each in recording.read(file.path, about)] == [WORDS, INTERRUPTION]
    assert about.damaged == 1
    assert about.left_out() == ["damaged pieces of the file were left out: 1"]


def test_metadata_that_nobody_can_read_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "odd.mcap"
    with path.open("wb") as opened:
        writer = Writer(opened)
        writer.start()
        writer.add_metadata(recording.METADATA, {"since_1970_ns": "yesterday"})
        writer.finish()
    with pytest.raises(recording.RecordingError, match="its metadata"):
        list(recording.read(path))


def test_a_chunk_that_would_fill_the_memory_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = begin(tmp_path)
    write(file, *ALL)
    file.close()
    monkeypatch.setattr(recording, "LONGEST", file.path.stat().st_size)
    about = recording.Recording()
    assert list(recording.read(file.path, about)) == []
    assert about.damaged == 1
