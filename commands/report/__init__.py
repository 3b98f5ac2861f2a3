"""``bargein report``: makes one page of a recording."""
