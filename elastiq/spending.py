"""What runs spent lately, in watts: as each was measured to, for counters are slow."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

OVER = 10.0  # seconds that the mean is of; what is longer ago counts for less and less


class Spending:
    """The power that runs took on average, as it is now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._joules = 0.0
        self._at = clock()

    def spend(self, joules: float) -> None:
        self._joules = self._left() + joules

    @property
    def watts(self) -> float:
        self._joules = self._left()
        return self._joules / OVER

    def _left(self) -> float:
        before, self._at = self._at, self._clock()
        return self._joules * exp((before - self._at) / OVER)
