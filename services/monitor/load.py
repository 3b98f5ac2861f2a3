"""The processor time and the memory of each stage, while somebody watches."""

from __future__ import annotations

import psutil

from services.monitor.records import Map


class Load:
    """Reads the load of processes on this machine."""

    def __init__(self) -> None:
        # For each stage: its pid, and its processor time (s) at a time (ns).
        self._before: dict[str, tuple[int, float, int]] = {}

    def of(self, stage: str, pid: int, now_ns: int) -> Map:
        """Return a stage's memory (MB) and processor (percent of a core) since the last call.

        Both are None if they are not known: the process is new, or runs on another machine.
        """
        unknown: Map = {"memory_mb": None, "cpu": None}
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            memory = process.memory_info().rss / 1e6
        except psutil.Error:
            return unknown
        spent_s = times.user + times.system
        before = self._before.get(stage)
        self._before[stage] = (pid, spent_s, now_ns)
        if before is None or before[0] != pid or now_ns <= before[2]:
            return {**unknown, "memory_mb": round(memory, 1)}
        cpu = (spent_s - before[1]) / (now_ns - before[2]) * 1e11
        return {"memory_mb": round(memory, 1), "cpu": round(cpu, 1)}
