"""What a conversation shows to a person who did not ask for the log."""
