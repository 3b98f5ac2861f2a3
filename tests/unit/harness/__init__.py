"""What measures the conversation, in tests and benchmarks."""
