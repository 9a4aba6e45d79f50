"""What the latency table does not know of today, learnt from answers: how much slower engines
run (a hot chip, a slower clock, cold caches), and what comes on top of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

LOWEST, HIGHEST = 0.5, 4.0
WEIGHT = 0.1
HALF_LIFE = 30.0
FAR = 0.1  # of what was expected
OWN_WEIGHT, OWN_LEAK = 0.05, 0.01  # of a run of one point; and what each takes back of that
OWN_LOWEST, OWN_HIGHEST = 0.5, 2.0


def retained(age: float) -> float:
    """The share of what was learnt that counts, so many seconds later."""
    return 0.5 ** (age / HALF_LIFE)


class Median:
    """Of the last three values: one alone, however odd, changes nothing."""

    def __init__(self, value: float) -> None:
        self._first = self._second = value

    def __call__(self, third: float) -> float:
        return self._sorted(third)[1]

    def _sorted(self, third: float) -> list[float]:
        three = sorted((self._first, self._second, third))
        self._first, self._second = self._second, third
        return three


class Usual(Median):
    """The same of how far they lie from one that half of them should be above, and half below.

    Long runs are much longer than usual ones, and short ones hardly shorter: so it counts as `FAR`
    at most, unless all three are farther, and on the same side.
    """

    def __init__(self) -> None:
        super().__init__(0.0)

    def __call__(self, third: float) -> float:
        lowest, middle, highest = self._sorted(third)
        if lowest > FAR or highest < -FAR:
            return middle
        return min(FAR, max(-FAR, middle))


class Correction:
    """How runs differ from what was measured: `factor` times as long, and `added` seconds.

    A table is measured in a tight loop. Between other work a run begins with cold caches, which
    adds about the same to every engine, while a slower clock makes all of them slower in
    proportion. Runs of several engines tell one from the other; of one alone, both take their
    share. What was learnt goes back to nothing when it idles. `scale` is a usual time of these
    engines.
    """

    def __init__(self, scale: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.factor = 1.0
        self.added = 0.0
        self._scale = scale
        self._clock = clock
        self._learnt = self._warm = clock()
        self._warm_usual, self._cold_usual = Usual(), Usual()  # they may alternate

    def expected(self, measured: float) -> float:
        """What a run takes now that was measured to take so long."""
        return self.factor * measured + self.added

    def learn(self, actual: float, measured: float, cold: bool = False) -> None:
        """Take in one run; one alone, however long, changes nothing."""
        if not (0.0 < actual < inf and 0.0 < measured < inf):
            return
        now = self._clock()
        self._forget(now)
        weight, usual = WEIGHT, self._warm_usual
        if cold:  # most likely that is why it took longer, unless the others are long ago
            weight, usual = weight * (1.0 - retained(now - self._warm)), self._cold_usual
        else:
            self._warm = now
        before = self.expected(measured)
        ratio = min(HIGHEST, max(LOWEST, actual / before))
        error = weight * usual(ratio - 1.0) * before
        size = measured / self._scale
        share = 1.0 / (1.0 + size * size)  # the step of a normalised least mean squares filter
        self.added = min(HIGHEST * self._scale, max(0.0, self.added + share * error))
        rest = (before + error - self.added) / measured
        self.factor = min(HIGHEST, max(LOWEST, rest))

    def _forget(self, now: float) -> None:
        """What was learnt long ago says little: without this, a bad minute would bar the costly
        points for ever, on a device where only they could show that it is over."""
        kept = retained(now - self._learnt)
        self._learnt = now
        self.factor = 1.0 + (self.factor - 1.0) * kept
        self.added *= kept


class Fading:
    """What is learnt of some runs only, and goes back to what is usual while there are none: else a
    bad minute would bar what only they could show to be over."""

    def __init__(self, usual: float, clock: Callable[[], float] | None) -> None:
        self._usual = self._value = usual
        self._clock = clock
        self._learnt = clock() if clock else 0.0

    def __call__(self) -> float:
        if self._clock is None:
            return self._value
        return self._usual + (self._value - self._usual) * retained(self._clock() - self._learnt)

    def become(self, value: float) -> None:
        self._value = value
        if self._clock is not None:
            self._learnt = self._clock()


class Own:
    """How a point's runs differ from those of all points: they take `times` as long.

    It is learnt more slowly than the correction of all, and fades while that explains its runs as
    well: what is true of all points must not be put down to the one that happens to run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._times = Fading(1.0, clock)
        self._error = Usual()

    @property
    def times(self) -> float:
        return self._times()

    def learn(self, actual: float, corrected: float) -> None:
        """Take in a run that should have taken so long as corrected for all."""
        if 0.0 < actual < inf and 0.0 < corrected < inf:
            before = self.times
            times = before * (1.0 + OWN_WEIGHT * self._error(actual / (before * corrected) - 1.0))
            times += OWN_LEAK * (1.0 - times)
            self._times.become(min(OWN_HIGHEST, max(OWN_LOWEST, times)))


class Extra:
    """`seconds` follows a cost that comes on top of some runs, whatever they take themselves. By a
    clock that goes, it is forgotten while there are no such runs."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._seconds = Fading(0.0, clock)
        self._median = Median(0.0)

    @property
    def seconds(self) -> float:
        return self._seconds()

    def learn(self, seconds: float, share: float = 1.0) -> None:
        """Take in one run, to which a share of it came; one alone changes nothing."""
        if -inf < seconds < inf:
            before = self.seconds
            error = self._median(seconds - share * before)
            self._seconds.become(max(0.0, before + WEIGHT * share * error))
