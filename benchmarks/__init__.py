"""Benchmarks that anyone can run: what a conversation costs, and how well it is interrupted."""
