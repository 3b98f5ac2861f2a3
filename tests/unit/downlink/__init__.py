"""The downlink stage's own part."""
