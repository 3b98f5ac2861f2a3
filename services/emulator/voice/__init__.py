"""The emulator's spoken replies and the scripted person: Ogg Opus files described by index.json."""
