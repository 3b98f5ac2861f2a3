"""Bargein's tests, in rings: unit, contract, process, sound."""
