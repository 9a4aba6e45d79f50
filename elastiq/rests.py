"""What a run costs more after a rest, by how long that was.

While nothing runs, caches and cores cool: on one device within a millisecond or two, on another in
thirty. So it is learnt for rests of a few lengths, and between these it changes evenly.
"""

from __future__ import annotations

from math import inf, log

from elastiq.correction import WEIGHT, Median

SHORTEST, TIMES, COUNT = 1e-3, 4.0, 5  # seconds, and how many lengths, each so many times the last


class Rests:
    """Follows it from runs; a longer rest costs no less than a shorter one."""

    def __init__(self) -> None:
        self._costs = [0.0] * (COUNT + 1)  # after no rest, and after each of these
        self._medians = [Median(0.0) for _ in self._costs]

    def __call__(self, rest: float) -> float:
        """The seconds."""
        place, part = _between(rest)
        shorter = self._costs[place]
        return shorter + part * (self._costs[place + 1] - shorter)

    def cold(self, rest: float) -> float:
        """How cold all has got, beside after the longest: 0 … 1."""
        most = self._costs[-1]
        return self(rest) / most if most > 0.0 else 0.0

    def learn(self, rest: float, seconds: float) -> None:
        """Take in one run; one alone changes nothing."""
        if not -inf < seconds < inf:
            return
        place, part = _between(rest)
        near = place + (part > 0.5)
        error = WEIGHT * self._medians[near](seconds - self(rest))
        shares = {place: 1.0 - part, place + 1: part}
        step = error / sum(share * share for share in shares.values())
        for length, share in shares.items():
            self._costs[length] += step * share
        least = self._costs[0] = 0.0
        for length, cost in enumerate(self._costs):
            least = self._costs[length] = max(least, cost)


def _between(rest: float) -> tuple[int, float]:
    """The longest of the lengths that a rest is not shorter than, and how far it is from there to
    the next."""
    if rest < SHORTEST:
        return 0, max(0.0, rest / SHORTEST)
    if rest >= SHORTEST * TIMES ** (COUNT - 1):
        return COUNT - 1, 1.0
    steps = log(rest / SHORTEST, TIMES)
    place = int(steps)
    return 1 + place, steps - place
