"""The stage that has the microphone."""
