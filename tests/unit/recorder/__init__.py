"""Tests of the stage recorder."""
