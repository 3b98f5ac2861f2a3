"""Sound: PCM arithmetic, resampling, devices, and the player that counts what was heard."""
