"""The capture stage's own part."""
