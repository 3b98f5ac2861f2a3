"""The stage that sends microphone audio, reports and requests to the server."""
