"""What the tests and the benchmarks both need: recorded and made sound, a sound server, real
stages on it, and what measures how they fared.
"""
