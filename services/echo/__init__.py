"""The stage that takes the assistant's voice out of the microphone."""
