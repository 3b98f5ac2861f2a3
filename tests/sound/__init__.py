"""Real processes on a real sound server."""
