"""The stage that owns the microphone."""
