"""``bargein check``: a conformance kit that reports which rules of docs/bus.md a stage follows."""
