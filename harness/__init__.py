"""What tests and benchmarks share: sounds, a sound server, real stages, and measurements."""
