"""How busy all cores are, and which share of their time other processes take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE, IO_WAIT = 3, 4
COUNTED = 8  # the fields after these count guests, whose time is in `user` already


@dataclass(frozen=True)
class Times:
    """Seconds since boot, summed over all cores; and what this process took of them."""

    total: float
    idle: float
    own: float


class CpuSensor:
    """Reads `busy`, `own` and `others` as shares (0…1) of all cores' time since the last read."""

    name = "cpu"
    period = 0.0

    def __init__(
        self, path: Path = STAT, own_seconds: Callable[[], float] = time.process_time
    ) -> None:
        self._path = path
        self._own_seconds = own_seconds
        self._last = self._times()

    def read(self) -> dict[str, float] | None:
        last, now = self._last, self._times()
        self._last = now
        if last is None or now is None or now.total <= last.total:
            return None
        passed = now.total - last.total
        busy = _share(passed - (now.idle - last.idle), passed)
        own = _share(now.own - last.own, passed)
        return {"busy": busy, "own": own, "others": max(0.0, busy - own)}

    def _times(self) -> Times | None:
        try:
            label, *fields = self._path.read_text().split("\n", 1)[0].split()
            ticks = [int(field) for field in fields[:COUNTED]]
            second = os.sysconf("SC_CLK_TCK")
            times = Times(
                total=sum(ticks) / second,
                idle=(ticks[IDLE] + ticks[IO_WAIT]) / second,
                own=self._own_seconds(),
            )
        except (OSError, ValueError, IndexError, OverflowError):
            return None
        if label != "cpu" or min(ticks) < 0:
            return None
        return times


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


def sensor() -> CpuSensor:
    return CpuSensor()
