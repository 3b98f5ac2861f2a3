"""Tests of the harness, which measures conversations for tests and benchmarks."""
