"""The link stage's own part."""
