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
from elastiq.cells import LONGEST, STATES, WAITS, shares

LATER = np.linspace(0.0, 2 * LONGEST, 4 * STATES + 1)  # moments since the first came
TINY = 1e-12


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
        """How much of each state, which are a new axis, the wait of the next is, where it is begun
        with when the first came so long ago.

        Whoever came as the one too many before the run is next; else whoever comes first after its
        beginning.
        """
        since = np.maximum(0.0, free[..., None] - WAITS)
        before = self._within(np.minimum(since, self.waits[:, None]))
        return shares(since - before - self._after(since))

    def _after(self, since: np.ndarray) -> np.ndarray:
        """How much of such a time since the first came passes on average after the beginning, and
        until somebody is next."""
        beginning, quiet = self._until(self.waits[:, None])
        share = self._later(self.waits, self.takes)[:, None] / np.maximum(quiet, TINY)
        return share * np.maximum(0.0, self._until(since)[0] - beginning)

    def _until(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much of these times passes in quiet on average, and how likely it is quiet at their
        end: evenly less between moments that are known."""
        place = np.minimum(times / LATER[1], len(LATER) - 1)
        below = np.minimum(place.astype(int), len(LATER) - 2)
        rows, part = np.arange(len(self.waits))[:, None], place - below
        first = self._quiet[rows, below]
        rise = part * (self._quiet[rows, below + 1] - first)
        return self._passed[rows, below] + LATER[1] * part * (first + rise / 2), first + rise

    @cached_property
    def _passed(self) -> np.ndarray:
        """How much of each of `LATER` passes in quiet on average."""
        between = (self._quiet[:, 1:] + self._quiet[:, :-1]) / 2 * LATER[1]
        return np.concatenate([np.zeros((len(between), 1)), np.cumsum(between, axis=1)], axis=1)

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

    def _within(self, times: np.ndarray) -> np.ndarray:
        """How much of these times passes on average until as many have come as are too many."""
        return gaps.within(times, self.rarity, self.evenness, self.takes)
