"""What a run is worth that leaves a single request waiting, by how much time is left to that one.

By the wait of the next alone, others are behind it, as many as usual. Where it is known that nobody
is, it is known better what becomes of it: which run it gets, whether it is in time with that, and
how likely others have come meanwhile.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np

from elastiq.cells import CELLS, GIVEN, LEFT_ROW, packed
from elastiq.process import HORIZON
from elastiq.runs import CHANCES, Runs

LEFT = np.arange(LEFT_ROW) / GIVEN


class Successor(NamedTuple):
    """One who waits alone, by what is left to it; one point's `LEFT_ROW` after the other's."""

    leaving: array[float]  # what follows a run at whose beginning so much is left to it
    begun: array[float]  # what it is worth to begin with it


def successor(
    runs: Runs, stay: float, alone: np.ndarray, silence: float, gained: float
) -> Successor:
    """Who waits alone behind a run.

    A change of points must be worth more by `stay`, `alone` is what follows a run of each point
    where nobody had come for such a silence before, by how long that is ago, and `gained` is by how
    much values rise with each request that is looked at.
    """
    begun = HORIZON * (_begun(runs, stay, alone, silence) - gained)
    return Successor(packed(_leaving(runs, begun)), packed(begun))


def _begun(runs: Runs, stay: float, alone: np.ndarray, silence: float) -> np.ndarray:
    """By the point that ran last, and by what is left."""
    ago = np.maximum(0.0, 1.0 - LEFT - silence)
    points = np.arange(len(runs.scores))[:, None, None]
    ways = []
    for shift in (0.0, runs.shift):
        took = runs.lengths[..., None] + shift
        follows = alone[points, _cells(ago + took + runs.pauses[:, None, None])]
        worth = runs.scores[:, None, None] * (took <= LEFT) + follows
        ways.append(CHANCES @ worth)
    same, other = ways
    refused = alone[:, _cells(ago)]
    return np.maximum(np.maximum(same, refused), other.max(0) - stay)


def _leaving(runs: Runs, begun: np.ndarray) -> np.ndarray:
    """By the point that runs, and by what is left at its beginning."""
    ends = np.round((runs.lengths + runs.pauses[:, None]) * GIVEN).astype(int)
    left = np.maximum(0, np.arange(LEFT_ROW) - ends[..., None])
    points = np.arange(len(runs.scores))[:, None, None]
    return CHANCES @ begun[points, left]


def _cells(times: np.ndarray) -> np.ndarray:
    return np.minimum(CELLS, np.round(times * GIVEN)).astype(int)
