"""What runs of each point take and earn: three lengths of each say enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elastiq.policies import Option

CHANCES = np.array((0.5, 0.4, 0.1))  # of a run up to the p50, the p90, and longer
# How far above the p50, or the p90, such runs lie on average: of the way to the p90, or the p99,
# where the longer of them are distributed exponentially.
LIKELY_MEAN, WORST_MEAN = 0.371, 0.39


@dataclass(frozen=True)
class Runs:
    """Of each point. Times are shares of the time that requests are given."""

    lengths: np.ndarray  # by point, and by `CHANCES`
    pauses: np.ndarray  # after them
    scores: np.ndarray
    takes: tuple[int, ...]  # requests
    shift: float  # what a change of points costs

    @classmethod
    def of(cls, options: tuple[Option, ...], given: float, shift: float) -> Runs:
        """Where a change of points costs such a share of an average run."""
        return cls(
            np.array([_lengths(option) for option in options]) / given,
            np.array([option.after for option in options]) / given,
            np.array([option.score for option in options]),
            tuple(option.takes for option in options),
            shift * sum(option.busy for option in options) / len(options) / given,
        )

    def in_a_row(self, count: np.ndarray) -> np.ndarray:
        """How long so many of a point take, by wait, which is the last axis, as `count` is: one
        evens the other out."""
        means = (self.lengths @ CHANCES)[:, None, None]
        return count * means + np.sqrt(count) * (self.lengths[..., None] - means)


def _lengths(option: Option) -> tuple[float, float, float]:
    """What runs take on average, by how likely they are."""
    _, _, typical, likely, worst, *_ = option
    return (
        typical,
        typical + LIKELY_MEAN * (likely - typical),
        likely + WORST_MEAN * (worst - likely),
    )
