"""Sound, for two or more packages: PCM arithmetic, resampling, and devices."""
