"""What the latency table does not know of today, learnt from answers: how much slower engines
run (a hot chip, a slower clock), and what comes on top of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

LOWEST, HIGHEST = 0.5, 4.0
WEIGHT = 0.1
EXCESS_WEIGHT = 0.03
# Where half of the runs are longer than typical, by an amount that is distributed exponentially,
# the ninth in ten and the 99th in a hundred lie so many times its average over all above it.
NINETIETH, NINETY_NINTH = 3.2, 7.8
HALF_LIFE = 30.0


class Median:
    """Of the last three values: one alone, however odd, changes nothing."""

    def __init__(self, value: float) -> None:
        self._first = self._second = value

    def __call__(self, third: float) -> float:
        first, second = self._first, self._second
        self._first, self._second = second, third
        return max(min(first, second), min(max(first, second), third))


class Correction:
    """How runs differ from what was measured.

    `factor` follows actual/predicted: slowly, within bounds, and back to 1 when it idles. `excess`
    is by how much, as a share, the runs above it are longer, averaged over all.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.factor = 1.0
        self.excess = 0.0
        self._clock = clock
        self._learnt = clock()
        self._median = Median(1.0)

    def learn(self, actual: float, predicted: float) -> None:
        """Take in one run; one alone, however long, changes nothing."""
        if not (0.0 < actual < inf and 0.0 < predicted < inf):
            return
        ratio = min(HIGHEST, max(LOWEST, self._median(actual / predicted)))
        now = self._clock()
        # What was learnt long ago says little: without forgetting, a bad minute would bar the
        # costly points for ever, on a device where only they could show that it is over.
        kept = 1.0 + (self.factor - 1.0) * 0.5 ** ((now - self._learnt) / HALF_LIFE)
        self._learnt = now
        self.factor = kept + WEIGHT * (ratio - kept)
        over = min(HIGHEST, max(0.0, actual / (predicted * self.factor) - 1.0))
        self.excess += EXCESS_WEIGHT * (over - self.excess)


class Extra:
    """`seconds` follows a cost that comes on top of some runs, whatever they take themselves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._median = Median(0.0)

    def learn(self, seconds: float) -> None:
        """Take in one run; one alone, however long, changes nothing."""
        if -inf < seconds < inf:
            self.seconds = max(0.0, self.seconds + WEIGHT * (self._median(seconds) - self.seconds))
