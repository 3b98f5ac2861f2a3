"""``bargein replay``: runs real stages again on the messages of a recording."""
