"""How much of the time some task had to wait for a core: Linux's pressure stall information."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")


class PressureSensor:
    """Reads the share (0…1) of the time since the last read that some task waited, by its name."""

    period = 0.0

    def __init__(
        self,
        path: Path = PRESSURE,
        clock: Callable[[], float] = time.monotonic,
        name: str = "pressure",
    ) -> None:
        self.name = name
        self._path = path
        self._clock = clock
        self._last = self._stalled()

    def read(self) -> dict[str, float] | None:
        last, now = self._last, self._stalled()
        self._last = now
        if last is None or now is None:
            return None
        stalled, passed = now[0] - last[0], now[1] - last[1]
        if stalled < 0 or passed <= 0:
            return None
        return {self.name: min(1.0, stalled / passed)}

    def _stalled(self) -> tuple[float, float] | None:
        """Seconds stalled since boot, and the moment."""
        try:
            some = self._path.read_text().split("\n", 1)[0].split()
            seconds = int(some[-1].removeprefix("total=")) / 1_000_000
        except (OSError, ValueError, IndexError, OverflowError):
            return None
        if some[0] != "some":
            return None
        return seconds, self._clock()


def sensor() -> PressureSensor:
    return PressureSensor()
