"""The stage that detects locally whether somebody speaks."""
