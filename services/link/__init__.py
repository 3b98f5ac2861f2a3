"""The stage that holds the WebSocket, and never reads what goes over it."""
