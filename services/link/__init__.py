"""The stage that holds the WebSocket: ``dialer`` connects, ``__main__`` moves text."""
