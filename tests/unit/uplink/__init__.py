"""The uplink stage's own part."""
