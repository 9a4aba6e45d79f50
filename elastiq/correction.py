"""What the latency table does not know of today, learnt from answers: how much slower engines
run (a hot chip, a slower clock), and what a request costs beside its engine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import inf

LOWEST, HIGHEST = 0.5, 4.0
WEIGHT = 0.1
MEDIAN_OF = 3
HALF_LIFE = 30.0


class Correction:
    """`factor` follows actual/predicted: slowly, within bounds, and back to 1 when it idles."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.factor = 1.0
        self._clock = clock
        self._learnt = clock()
        self._recent: deque[float] = deque([1.0] * MEDIAN_OF, maxlen=MEDIAN_OF)

    def learn(self, actual: float, predicted: float) -> None:
        """Take in one run; one alone, however long, changes nothing."""
        if not (0.0 < actual < inf and 0.0 < predicted < inf):
            return
        self._recent.append(actual / predicted)
        ratio = min(HIGHEST, max(LOWEST, sorted(self._recent)[MEDIAN_OF // 2]))
        now = self._clock()
        # What was learnt long ago says little: without forgetting, a bad minute would bar the
        # costly points for ever, on a device where only they could show that it is over.
        kept = 1.0 + (self.factor - 1.0) * 0.5 ** ((now - self._learnt) / HALF_LIFE)
        self._learnt = now
        self.factor = kept + WEIGHT * (ratio - kept)


class Overhead:
    """`seconds` follows what requests cost beside their engines: choosing, handing over, waking."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._recent: deque[float] = deque([0.0] * MEDIAN_OF, maxlen=MEDIAN_OF)

    def learn(self, seconds: float) -> None:
        """Take in one request; one alone, however long, changes nothing."""
        if 0.0 <= seconds < inf:
            self._recent.append(seconds)
            self.seconds += WEIGHT * (sorted(self._recent)[MEDIAN_OF // 2] - self.seconds)
