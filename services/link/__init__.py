"""The stage that holds the WebSocket to the server. It moves text."""
