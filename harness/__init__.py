"""Sounds, a sound server, real stages and measurements, for the tests and the benchmarks."""
