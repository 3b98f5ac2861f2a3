"""Shared parts of the Realtime protocol: the endpoint with its key, words, event ids."""
