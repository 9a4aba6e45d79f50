"""Who are answered together: how many they are, what they earn, and whom they leave behind.

A run that takes several answers the first in line and those behind it. How many these are, and how
long each has waited, follows from how long the first has, and from how fast and evenly they come.
All times are shares of the time that requests are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elastiq import gaps
from elastiq.cells import LONGEST, MIDDLES, STATES, WAITS

LATER = np.linspace(0.0, 2 * LONGEST, 4 * STATES + 1)  # moments since the first came


@dataclass(frozen=True)
class Company:
    """At most so many, the first of whom has waited for one of `waits` when the run begins."""

    takes: int
    waits: np.ndarray
    rarity: float  # mean time between arrivals
    evenness: float

    @cached_property
    def size(self) -> np.ndarray:
        """How many they are on average."""
        others = (1.0 - self._later(self.waits, count) for count in range(1, self.takes))
        return sum(others, np.ones_like(self.waits))

    def in_time(self, done: np.ndarray) -> np.ndarray:
        """How many of them are, where the run ends when the first is `done` after such times; the
        last axis is that of `waits`."""
        late = np.maximum(0.0, done - 1.0)
        others = (
            np.maximum(0.0, self._later(late, count) - self._later(self.waits, count))
            for count in range(1, self.takes)
        )
        return sum(others, (done <= 1.0).astype(float))

    def leaves(self, free: np.ndarray) -> np.ndarray:
        """How likely the next has waited for each of `WAITS`, which are a new axis, where it is
        begun with when the first came so long ago.

        Whoever came as the one too many before the run is next; else whoever comes first after its
        beginning.
        """
        since = np.maximum(0.0, free[..., None] - MIDDLES)
        nobody = np.where(
            since <= self.waits[:, None], self._later(since, self.takes), self._nobody(since)
        )
        sooner, later = np.zeros((*free.shape, 1)), np.ones((*free.shape, 1))
        return np.diff(np.concatenate([sooner, nobody, later], axis=-1))

    def _nobody(self, since: np.ndarray) -> np.ndarray:
        """How likely nobody is next who came before such a time since the first did, which is after
        the beginning: between moments that are known."""
        place = np.minimum(since * ((len(LATER) - 1) / LATER[-1]), len(LATER) - 1.001)
        below = place.astype(int)
        rows, part = np.arange(len(self.waits))[:, None], place - below
        known = self._quiet
        return known[rows, below] * (1.0 - part) + known[rows, below + 1] * part

    @cached_property
    def _quiet(self) -> np.ndarray:
        """How likely all who came before the beginning are in the run, and nobody came until a
        moment after it."""
        edges = np.sort(np.append(WAITS, self.waits[0]))
        middles = (edges[1:] + edges[:-1]) / 2
        # How likely one who is in it, but not the first, came between two of these times.
        fewer = (self._later(edges, count) for count in range(1, self.takes))
        came = -np.diff(sum(fewer, np.zeros_like(edges)))
        after = self._later(np.maximum(0.0, LATER - middles[:, None]))
        return self._later(LATER) + ((middles < self.waits[:, None]) * came) @ after

    def _later(self, times: np.ndarray, count: int = 1) -> np.ndarray:
        return gaps.later(times, self.rarity, self.evenness, count)
