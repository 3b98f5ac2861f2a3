"""Tests of real processes on a real sound server."""
