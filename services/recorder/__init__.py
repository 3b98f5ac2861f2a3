"""The conversation as a file: no conversation needs it."""
