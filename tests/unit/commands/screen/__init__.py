"""Tests of what a conversation shows on the screen."""
