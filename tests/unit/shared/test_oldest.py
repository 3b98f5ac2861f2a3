"""The limit for what a process remembers."""

from collections import OrderedDict

from shared.oldest import drop_oldest


def test_the_oldest_entries_are_dropped_and_the_newest_stay() -> None:
    known = OrderedDict.fromkeys(["first", "second", "third"])
    drop_oldest(known, 3)
    assert list(known) == ["first", "second", "third"]
    drop_oldest(known, 1)
    assert list(known) == ["third"]
