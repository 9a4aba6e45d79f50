"""The most that requests can earn on average, where it is known when each of them comes.

How long a run takes is known by its law alone, until it has ended. From the last request back to
the first, it is found what is earned from it on, by when the server is free. Plans serve in order
of arrival: as every request has the same time, no other order does better (where one is served
before another that came first, the two may change places).

Times are cut down to whole cells, and runs to a few times the time that requests have: what is
found is too high by a little, and never too low.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

CELLS, MOST_CELLS = 512, 4096  # of the time that requests have: at least, and at most,
FINE = 40  # or so many of the shortest run
LONGEST = 4  # times that time: whoever waited will have been lost long before

Law = tuple[tuple[float, float], ...]  # how many seconds runs take, and how likely that is


class Way(NamedTuple):
    """To answer requests: how many a run answers at most, what each answer is worth (counted in
    one or several ways), and how long it takes."""

    takes: int
    worth: tuple[float, ...]
    law: Law


def most(
    moments: np.ndarray,
    deadline: float,
    ways: Sequence[Sequence[Way]],
    pauses: Sequence[float] = (0.0,),
) -> np.ndarray:
    """What all requests together can earn, in each way to count.

    `ways` are those to answer each request, and `pauses` what passes after a run until the next can
    begin, by how many it answered.
    """
    known = {way for one in ways for way in one}
    shortest = min(run for way in known for run, _ in way.law)
    given = int(min(MOST_CELLS, max(CELLS, FINE * deadline / max(shortest, 1e-9))))
    cell = deadline / given
    cut = {way: _Cut.of(way, given, cell) for way in known}
    slowest = max(max(way.runs) for way in cut.values())
    kinds = len(ways[0][0].worth)
    plans = _Plans(given, [int(pause / cell) for pause in pauses], slowest, kinds)
    for moment, one in zip(reversed(moments.tolist()), reversed(ways), strict=True):
        plans.begin_with(int(moment / cell), [cut[way] for way in one])
    return plans.earned


@dataclass(frozen=True)
class _Cut:
    """A way, in cells."""

    takes: int
    worth: np.ndarray  # a column
    runs: dict[int, float]
    in_time: np.ndarray  # how likely a run is that begins so many cells after its request came

    @classmethod
    def of(cls, way: Way, given: int, cell: float) -> _Cut:
        runs: dict[int, float] = {}
        for seconds, chance in way.law:
            run = int(min(seconds / cell, LONGEST * given))
            runs[run] = runs.get(run, 0.0) + chance
        lasting = np.bincount(list(runs), list(runs.values()), given + 1)[: given + 1]
        return cls(way.takes, np.array(way.worth)[:, None], runs, np.cumsum(lasting)[::-1])

    def then(self, ahead: np.ndarray, count: int) -> np.ndarray:
        """What follows a run, on average, by when it begins."""
        parts = (chance * ahead[:, run : run + count] for run, chance in self.runs.items())
        return sum(parts, np.zeros(1))


class _Plans:
    """The best of them, from a request on."""

    def __init__(self, given: int, pauses: list[int], slowest: int, kinds: int) -> None:
        self._given = given
        self._pauses = pauses
        self._begins = given + 1 + max(pauses)
        self._width = self._begins + slowest
        self._values, self._since = np.zeros((kinds, 1)), 0  # by when the server is free, from here
        self._came: deque[int] = deque(maxlen=len(pauses))
        # Of runs whose last request it is, by when they begin: what follows without a pause.
        self._followed: deque[list[tuple[_Cut, np.ndarray]]] = deque(maxlen=len(pauses))

    @property
    def earned(self) -> np.ndarray:
        """By a server that is free when the first comes."""
        return self._values[:, 0]

    def begin_with(self, came: int, ways: list[_Cut]) -> None:
        """Let one come before all others."""
        moments = np.arange(came, came + self._width) - self._since
        moments = moments.clip(0, self._values.shape[1] - 1)  # all are alike before the next comes
        self._values, self._since = self._values[:, moments], came  # it is refused
        self._came.appendleft(came)
        self._followed.appendleft([(way, way.then(self._values, self._begins)) for way in ways])
        for others, followed in enumerate(self._followed):
            if self._came[others] - came > self._given:
                break
            self._answer(others, followed)

    def _answer(self, others: int, followed: list[tuple[_Cut, np.ndarray]]) -> None:
        """Answer the first and so many others in one run, wherever that is better."""
        came = list(islice(self._came, others + 1))
        since, pause = came[-1] - came[0], self._pauses[others]
        count = self._given + 1 - since  # moments to begin at
        for way, then in followed:
            if way.takes <= others:
                continue
            in_time = sum(way.in_time[came[-1] - one :][:count] for one in came)
            worth = way.worth * in_time + then[:, pause : pause + count]
            for part, better in (
                (self._values[:, since : since + count], worth),
                (self._values[:, :since], worth[:, :1]),  # it waits for the last to come
            ):
                np.maximum(part, better, out=part)
