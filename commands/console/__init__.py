"""The console: a conversation in a terminal, with a line to type in, and keys for the commands."""
