"""The recorder's own part."""
