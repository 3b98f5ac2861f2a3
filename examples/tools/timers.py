"""Timers that speak when they are due, and the time of day.

``question.opus`` is the question of the recorded person in ``bin/demo`` (flite's voice slt).

In config.toml: ``[tools] modules = ["examples.tools.timers"]``. Then say "What time is it?", or
"Set a timer for ten minutes for the tea".
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from services.tools.api import say

#: The timers that run: the timer, and when it is due (time.monotonic).
_timers: dict[str, tuple[threading.Timer, float]] = {}
_lock = threading.Lock()

Minutes = Annotated[float, Meta(gt=0, le=1440, description="in how many minutes it is due")]


def current_time() -> str:
    """Tell the time of day and the date."""
    return datetime.now().astimezone().strftime("It is %H:%M on %A, %d %B %Y.")


def set_timer(minutes: Minutes, name: str = "timer") -> str:
    """Set a timer. It speaks when it is due."""
    timer = threading.Timer(minutes * 60, _due, [name])
    timer.daemon = True
    with _lock:
        if name in _timers:
            return f"A timer named {name} runs already."
        _timers[name] = (timer, time.monotonic() + minutes * 60)
    timer.start()
    return f"The timer {name} is set for {minutes:g} minutes."


def list_timers() -> list[str]:
    """List the timers that run, with the time that is left."""
    now = time.monotonic()
    with _lock:
        return [f"{name}: {(due - now) / 60:.1f} minutes" for name, (_, due) in _timers.items()]


def cancel_timer(name: str = "timer") -> str:
    """Cancel a timer."""
    with _lock:
        found = _timers.pop(name, None)
    if found is None:
        return f"There is no timer named {name}."
    found[0].cancel()
    return f"The timer {name} is cancelled."


def _due(name: str) -> None:
    with _lock:
        _timers.pop(name, None)
    say(f"The timer named {name} is due.")
