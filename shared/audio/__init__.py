"""Sound that two or more stages need: PCM arithmetic, resampling, devices."""
