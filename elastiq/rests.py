"""What a run costs more after a rest, by how long that was.

While nothing runs, caches and cores cool: on one device within a millisecond or two, on another in
thirty. An engine's own grow cold while others run. So it is learnt for rests of a few lengths, and
between these it changes evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, log

from elastiq.correction import WEIGHT, Median, retained

SHORTEST, TIMES, COUNT = 1e-3, 4.0, 5  # seconds, and how many lengths, each so many times the last
LENGTHS = tuple(SHORTEST * TIMES**place for place in range(COUNT))
Curve = tuple[float, ...]  # in seconds: after no rest, and after each of `LENGTHS`
NOTHING: Curve = (0.0,) * (COUNT + 1)


def flat(seconds: float) -> Curve:
    """The same after any rest."""
    return (seconds,) * (COUNT + 1)


def cost(costs: Sequence[float], rest: float) -> float:
    """What comes of a rest of any length, by what comes of those."""
    place, part = _between(rest)
    shorter = costs[place]
    return shorter + part * (costs[place + 1] - shorter)


class Rests:
    """Follows it from runs; a longer rest costs no less than a shorter one, and none costs nothing,
    unless it may. By a clock that goes, it is forgotten while there are no such runs."""

    def __init__(
        self, clock: Callable[[], float] = lambda: 0.0, none_may_cost: bool = False
    ) -> None:
        self._costs = [0.0] * (COUNT + 1)  # after no rest, and after each of `LENGTHS`
        self._medians = [Median(0.0) for _ in self._costs]
        self._none_may_cost = none_may_cost
        self._clock = clock
        self._learnt = clock()

    def __call__(self, rest: float) -> float:
        """The seconds."""
        return cost(self._costs, rest) * retained(self._clock() - self._learnt)

    @property
    def curve(self) -> Curve:
        """What is known now."""
        left = retained(self._clock() - self._learnt)
        return tuple(left * seconds for seconds in self._costs)

    def learn(self, rest: float, seconds: float) -> None:
        """Take in one run; one alone changes nothing."""
        if not -inf < seconds < inf:
            return
        self._costs, self._learnt = list(self.curve), self._clock()
        place, part = _between(rest)
        near = place + (part > 0.5)
        error = WEIGHT * self._medians[near](seconds - self(rest))
        shares = {place: 1.0 - part, place + 1: part}
        step = error / sum(share * share for share in shares.values())
        for length, share in shares.items():
            self._costs[length] += step * share
        least = 0.0
        if not self._none_may_cost:
            self._costs[0] = 0.0
        for length, seconds in enumerate(self._costs):
            least = self._costs[length] = max(least, seconds)


def _between(rest: float) -> tuple[int, float]:
    """The longest of the lengths that a rest is not shorter than, and how far it is from there to
    the next."""
    if rest < SHORTEST:
        return 0, max(0.0, rest / SHORTEST)
    if rest >= SHORTEST * TIMES ** (COUNT - 1):
        return COUNT - 1, 1.0
    steps = log(rest / SHORTEST, TIMES)
    place = min(int(steps), COUNT - 2)  # the last is as far as that, but for what rounding does
    return 1 + place, steps - place
