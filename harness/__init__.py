"""The parts that the tests and the benchmarks share: recorded and made sound, a sound server, real
stages on it, and what measures how they fared.
"""
