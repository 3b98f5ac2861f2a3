"""The stage that records the conversation to a file. A conversation does not need it."""
