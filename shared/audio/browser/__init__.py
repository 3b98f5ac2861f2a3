"""A page in a browser as microphone and as speaker."""
