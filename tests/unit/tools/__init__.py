"""Unit tests of the tools stage."""
