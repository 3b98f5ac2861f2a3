"""Examples: stages and functions to copy from."""
