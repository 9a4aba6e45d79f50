"""How far long runs lie above usual ones today, beside what the latency table says."""

from __future__ import annotations

LEAST = 0.05  # of a usual run: in a tight loop, all may have been alike
SHORTEST, LONGEST = 0.5, 8.0  # times what was measured


def reach(usual: float, long: float) -> float:
    """How far a long run lies above a usual one, as a share of that."""
    above = long / usual - 1.0 if usual > 0.0 else 0.0
    return above if above > LEAST else LEAST


class Tail:
    """The run that such a share are longer than lies `times` as far above a usual one as it was
    measured to.

    Runs are counted, not weighed: no law is assumed, and one alone, however long, changes little.
    """

    def __init__(self, share: float, weight: float) -> None:
        self.times = 1.0
        self._up, self._down = 1.0 + weight * (1.0 - share), 1.0 - weight * share

    def learn(self, over: float, measured: float) -> None:
        """Take in a run that lay so far above a usual one, where long ones were measured to."""
        times = self.times
        times *= self._up if over > times * measured else self._down
        if SHORTEST < times < LONGEST:
            self.times = times
