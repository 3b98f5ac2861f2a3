"""Real processes on a private bus."""
