"""The processor time and the memory of each stage, while somebody watches."""

from __future__ import annotations

import psutil

from services.monitor.records import Map


class Load:
    """Reads the load of processes on this machine."""

    def __init__(self) -> None:
        # For each stage: its process, and its processor time (s) at a time (ns).
        self._before: dict[str, tuple[psutil.Process, float, int]] = {}

    def of(self, stage: str, pid: int, now_ns: int) -> Map:
        """Return a stage's memory (MB) and processor (percent of a core) since the last call.

        Both are None if they are not known: the process is new, or runs on another machine.
        """
        unknown: Map = {"memory_mb": None, "cpu": None}
        before = self._before.get(stage)
        try:
            # To find a process takes as long as to read its figures.
            if before is None or before[0].pid != pid:
                before = (psutil.Process(pid), 0.0, now_ns)
            process, before_s, before_ns = before
            times = process.cpu_times()
            memory = process.memory_info().rss / 1e6
        except psutil.Error:
            self._before.pop(stage, None)
            return unknown
        spent_s = times.user + times.system
        self._before[stage] = (process, spent_s, now_ns)
        if now_ns <= before_ns:
            return {**unknown, "memory_mb": round(memory, 1)}
        cpu = (spent_s - before_s) / (now_ns - before_ns) * 1e11
        return {"memory_mb": round(memory, 1), "cpu": round(cpu, 1)}
