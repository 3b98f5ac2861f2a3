"""The screen of a person who did not ask for the log."""
