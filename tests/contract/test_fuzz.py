"""The targets of benchmarks/fuzz.py with some hundred inputs each. Hypothesis shrinks a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import fuzz
from shared import config

# The tests compute: on a busy machine that takes longer than the usual limit.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(900)]

#: The number of inputs of each test. The variable FUZZ_EXAMPLES=100000 asks for more.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
every_target = pytest.mark.parametrize("target", fuzz.TARGETS)

edits = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 40), st.sampled_from(fuzz.TOKENS) | st.binary(max_size=20)
    ),
    max_size=6,
)


@pytest.fixture(autouse=True)
def _no_file_is_left() -> Iterator[None]:
    yield
    while fuzz.FILES:
        fuzz.FILES.pop().unlink()


@every_target
def test_the_good_inputs_are_good(target: str) -> None:
    refused = [good for good in fuzz.corpus(target) if not fuzz.TARGETS[target](good)]
    assert refused == []


@every_target
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_good_input_that_was_changed_is_read_or_refused(target: str, data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(fuzz.corpus(target))))
    for place, length, put in data.draw(edits):
        at = round(place * len(changed))
        changed[at : at + length] = put
    fuzz.TARGETS[target](bytes(changed))


@every_target
@settings(max_examples=EXAMPLES)
@given(said=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(target: str, said: bytes) -> None:
    fuzz.TARGETS[target](said)


@every_target
def test_the_runner_bends_what_it_is_given(target: str) -> None:
    counted = fuzz.fuzz(target, 300, seed=5)
    assert counted.total() == 300
    # Some inputs must be accepted, and some refused.
    assert min(counted["accepted"], counted["refused"]) > 30
    assert counted == fuzz.fuzz(target, 300, seed=5)


def test_a_fault_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(data: bytes) -> bool:
        raise KeyError(data)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fuzz.TARGETS, "bus", crash)
    with pytest.raises(KeyError) as caught:
        fuzz.fuzz("bus", 10, seed=5)
    assert (tmp_path / "fuzz-bus-5-0.bin").read_bytes() == caught.value.args[0]


@pytest.mark.parametrize("text", ["\udcff", "a\udc80b"])
def test_bytes_that_are_no_text_are_no_setting(text: str) -> None:
    # Python represents bytes that are not UTF-8 like this. They can be neither sent nor shown.
    for environment, line in (
        ({"BARGEIN_SESSION__VOICE": text}, []),
        ({}, [f"session.voice={text}"]),
    ):
        with pytest.raises(config.ConfigError, match=r"session\.voice = .*: not text in UTF-8"):
            config.resolve(Path(os.devnull), environment, line)
