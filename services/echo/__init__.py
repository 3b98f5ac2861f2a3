"""The stage that removes the assistant's voice from the microphone."""
