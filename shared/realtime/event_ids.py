"""The ids that uplink gives events, where downlink knows the answers by them."""

from __future__ import annotations

#: How the event ids of what puts turns back begin, so that an answer to them is known.
RESTORES = "restore_"
