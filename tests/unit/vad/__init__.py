"""The vad stage's own part."""
