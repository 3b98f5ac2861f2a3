"""The playback stage's own part."""
