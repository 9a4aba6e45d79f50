"""Times as values are put down by them: in cells, shares of the time that requests are given."""

from __future__ import annotations

from array import array

import numpy as np

GIVEN = 120  # cells of that time
LONGEST = 1.5  # waits that are looked at: when the one behind is lost, others wait behind it
CELLS = round(LONGEST * GIVEN)
ROW = 2 * CELLS + 2  # cells of a point
STATES = 18  # of `LONGEST`, that values are found for; between them they change evenly
WAITS = np.linspace(0.0, LONGEST, STATES + 1)
LEFTS = 134  # cells of what may be left, for what is given is known to a tenth
LEFT_ROW = LEFTS + 1


def shares(above: np.ndarray) -> np.ndarray:
    """How much of each state a wait is that lies so far above each of `WAITS` on average, which are
    the last axis.

    One between two states is in part the one and in part the other. As the nearest of them, it
    would be as if nobody came while runs are short, and many are given time.
    """
    reached = np.minimum.accumulate(np.clip(-np.diff(above) * (STATES / LONGEST), 0.0, 1.0), -1)
    all_, none = np.ones((*above.shape[:-1], 1)), np.zeros((*above.shape[:-1], 1))
    return -np.diff(np.concatenate([all_, reached, none], axis=-1))


def packed(values: np.ndarray) -> array[float]:
    """One row after the other, as plain numbers: a look at one must cost next to nothing, and
    hundreds of situations are kept."""
    return array("f", values.astype(np.float32).tobytes())


def unpacked(values: array[float], row: int) -> np.ndarray:
    """The rows."""
    return np.frombuffer(values, np.float32).reshape(-1, row)
