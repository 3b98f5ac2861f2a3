"""The echo stage's own part."""
