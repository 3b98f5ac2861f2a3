"""Tests of the independent rooms."""
