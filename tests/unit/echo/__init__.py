"""Tests of the stage echo."""
