"""What a run is worth that leaves a single request waiting, by how much time is left to that one.

By the wait of the next alone, others are behind it, as many as usual. Where it is known that nobody
is, it is known better what becomes of it: which run it gets, whether it is in time with that, and
how likely others have come meanwhile.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elastiq.cells import CELLS, GIVEN, LEFT_ROW, packed

LEFT = np.arange(LEFT_ROW) / GIVEN


class Successor(NamedTuple):
    """One who waits alone, by what is left to it; one point's `LEFT_ROW` after the other's."""

    leaving: array[float]  # what follows a run at whose beginning so much is left to it
    begun: array[float]  # what it is worth to begin with it


@dataclass(frozen=True)
class Runs:
    """Of each point; times are shares of the time that requests are given."""

    chances: np.ndarray  # of each length
    lengths: np.ndarray  # by point, and by how likely they are
    pauses: np.ndarray  # after them, by point
    shift: float  # what a change of points costs
    stay: float  # what it must be worth more
    scores: np.ndarray

    def successor(
        self, alone: np.ndarray, silence: float, gained: float, horizon: float
    ) -> Successor:
        """Who waits alone behind a run.

        `alone` is what follows a run of each point where nobody had come for such a silence before,
        by how long that is ago; `gained` is by how much values rise with each request that is
        looked at, and `horizon` what a request counts beside the one before.
        """
        begun = horizon * (self._begun(alone, silence) - gained)
        return Successor(packed(self._leaving(begun)), packed(begun))

    def _begun(self, alone: np.ndarray, silence: float) -> np.ndarray:
        """By the point that ran last, and by what is left."""
        ago = np.maximum(0.0, 1.0 - LEFT - silence)
        points = np.arange(len(self.scores))[:, None, None]
        ways = []
        for shift in (0.0, self.shift):
            took = self.lengths[..., None] + shift
            follows = alone[points, _cells(ago + took + self.pauses[:, None, None])]
            worth = self.scores[:, None, None] * (took <= LEFT) + follows
            ways.append(self.chances @ worth)
        same, other = ways
        refused = alone[:, _cells(ago)]
        return np.maximum(np.maximum(same, refused), other.max(0) - self.stay)

    def _leaving(self, begun: np.ndarray) -> np.ndarray:
        """By the point that runs, and by what is left at its beginning."""
        ends = np.round((self.lengths + self.pauses[:, None]) * GIVEN).astype(int)
        left = np.maximum(0, np.arange(LEFT_ROW) - ends[..., None])
        points = np.arange(len(self.scores))[:, None, None]
        return self.chances @ begun[points, left]


def _cells(times: np.ndarray) -> np.ndarray:
    return np.minimum(CELLS, np.round(times * GIVEN)).astype(int)
