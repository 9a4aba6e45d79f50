"""What the best of all policies earns that does not see the future, where several come at once.

As `optimum`, but there a slot brings one request at most, and who waits is a set of ages; here it
is how many there are of each age, up to a limit: whoever comes beyond it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.optimum import NEVER, Best, Choice, Gaps, Served, oldest, solve
from elastiq import gaps


@dataclass(frozen=True)
class Clumps:
    """Requests the next of which comes in the same slot, or else after a gap of one or more."""

    together: float  # how likely it comes in the same slot
    gaps: Gaps

    @classmethod
    def of(cls, mean: float, cv: float) -> Clumps:
        """Gaps as a gamma distribution has them, each to the slot that it is nearest to."""
        evenness = 1.0 / cv**2
        edges = np.arange(round(gaps.NEVER * mean / evenness)) + 0.5
        later = gaps.later(edges, mean, evenness)
        later = later[later > NEVER]
        return cls(1.0 - float(later[0]), Gaps(1.0 - later[1:] / later[:-1]))

    @property
    def mean(self) -> float:
        """Slots from one request to the next."""
        return (1.0 - self.together) * self.gaps.mean

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """So many gaps."""
        apart = random.random(count) >= self.together
        return np.where(apart, self.gaps.draw(count, random), 0)


def best(choices: Sequence[Choice], given: int, clumps: Clumps, most: int) -> Best:
    """What earns most where each request is given so many slots, and at most so many wait."""
    return solve(choices, given, _Crowds(oldest(choices, given), clumps, most), clumps.mean)


class _Crowds:
    """All that a server may find: first how many wait of each age, and then every time since the
    last request, where nobody waits."""

    def __init__(self, oldest: int, clumps: Clumps, most: int) -> None:
        self._most, self._last = most, len(clumps.gaps.ends)
        self._places = (most + 1) ** np.arange(oldest + 1)
        crowds = np.array(list(_crowds(oldest + 1, most)))
        self._crowds = crowds[np.argsort(crowds @ self._places)]
        self._known = self._crowds @ self._places
        self._sizes = self._crowds.sum(1)
        self.count = len(self._crowds) + self._last
        self._newest = np.where(self._sizes > 0, (self._crowds > 0).argmax(1), 0)
        older = np.hstack([np.zeros((len(crowds), 1), int), self._crowds[:, :-1]])
        silent = np.zeros((self._last, oldest + 1), int)
        silences = 1 + np.arange(self._last)
        self._none = np.concatenate([self._left(older, 1), self._nobody(silences + 1)])
        self._some = [self._join(np.vstack([older, silent]), many) for many in range(1, most + 1)]
        since = np.concatenate([self._newest, silences]).clip(max=self._last - 1)
        chance = clumps.gaps.ends[since]
        self._chances = [1.0 - chance]
        for many in range(1, most + 1):
            last = 1.0 if many == most else 1.0 - clumps.together
            self._chances.append(chance * clumps.together ** (many - 1) * last)
        self.fewer = self._left(self._without(self._crowds, 1)[0])

    def after(self, many: int) -> np.ndarray:
        return self._some[min(many, self._most) - 1] if many else self._none

    def slot(self, values: np.ndarray) -> np.ndarray:
        ways = zip(self._chances, (self._none, *self._some), strict=True)
        return sum((chance * values[:, then] for chance, then in ways), np.zeros(1))

    def refuse(self, values: np.ndarray) -> None:
        for size in range(1, self._most + 1):  # fewer first: another may be refused after it
            here = np.flatnonzero(self._sizes == size)
            values[here] = np.maximum(values[here], values[self.fewer[here]])

    def served(self, choice: Choice, given: int) -> Served:
        ages = np.arange(self._crowds.shape[1])
        hopeful = np.where(ages + min(choice.runs) <= given, self._crowds, 0)
        left, taken = self._without(hopeful, choice.takes)
        nobody = taken.sum(1) == 0
        return self._left(left), [
            (
                slots,
                chance,
                np.where(nobody, -np.inf, choice.score * (taken @ (ages + slots <= given))),
            )
            for slots, chance in choice.runs.items()
        ]

    def _without(self, crowds: np.ndarray, many: int) -> tuple[np.ndarray, np.ndarray]:
        """Without so many of the oldest, and who they are."""
        older = np.cumsum(crowds[:, ::-1], 1)[:, ::-1] - crowds
        taken = np.minimum(crowds, np.maximum(0, many - older))
        return crowds - taken, taken

    def _join(self, crowds: np.ndarray, many: int) -> np.ndarray:
        """Where one is when so many come."""
        joined = crowds.copy()
        joined[:, 0] = np.minimum(many, self._most - crowds.sum(1))
        return np.searchsorted(self._known, joined @ self._places)

    def _left(self, crowds: np.ndarray, later: int = 0) -> np.ndarray:
        """Where one is when these are left of all, so many slots later."""
        found = np.searchsorted(self._known, crowds @ self._places)
        return np.where(crowds.any(1), found, self._nobody(self._newest + later))

    def _nobody(self, since: np.ndarray) -> np.ndarray:
        """Nobody waits, and the last has come so long ago."""
        since = since.clip(max=self._last)
        return np.where(since, len(self._crowds) - 1 + since, 0)


def _crowds(ages: int, most: int) -> Iterator[tuple[int, ...]]:
    """How many there may be of each age."""
    if ages == 0:
        yield ()
        return
    for count in range(most + 1):
        for others in _crowds(ages - 1, most - count):
            yield (count, *others)
