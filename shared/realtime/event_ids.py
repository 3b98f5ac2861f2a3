"""Prefixes of the event ids that uplink sends and that downlink recognizes in the answers."""

from __future__ import annotations

#: Prefix of the event ids with which uplink restores the turns of an earlier session. An error
#: with such an event id concerns the restoring.
RESTORES = "restore_"
