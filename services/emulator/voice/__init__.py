"""The emulator's recorded voice and the scripted person: Opus files, described by index.json."""
