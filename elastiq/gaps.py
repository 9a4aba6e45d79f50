"""How long it takes until requests come, by how fast and how evenly they do.

Gaps between them follow a gamma distribution. Its shape, the evenness, is 1 where requests come at
random, less where they come in clumps, and more where they come to a beat. The time until so many
have come follows one of so many times that shape.
"""

from __future__ import annotations

from functools import lru_cache
from math import lgamma, sqrt

import numpy as np

from elastiq.rhythm import SOON

EVENNESS = np.geomspace(1 / 128, 8.0, 31)  # what is told apart
NEVER = 200.0  # of the scale of the distribution
TIMES = np.concatenate(([0.0], np.geomspace(1e-8, NEVER, 256)))  # it is steep at 0, in clumps
TERMS = 400
ENOUGH = 1e-6


def later(times: np.ndarray, pace: float, evenness: float, count: int = 1) -> np.ndarray:
    """How likely the next so many have not all come by these times."""
    return np.interp(times * (evenness / pace), TIMES, _later(evenness * count))


def within(times: np.ndarray, pace: float, evenness: float, count: int = 1) -> np.ndarray:
    """How much of these times passes on average until the next so many have all come."""
    scale = evenness / pace
    return np.interp(times * scale, TIMES, _within(evenness * count)) / scale


def evenness(soon: float) -> float:
    """That of arrivals of which this share comes soon after another."""
    return float(np.interp(-soon, *_known()))


@lru_cache
def _known() -> tuple[np.ndarray, np.ndarray]:
    return -_sooner(EVENNESS, SOON * EVENNESS), EVENNESS


@lru_cache(256)
def _later(shape: float) -> np.ndarray:
    """How likely a gamma distribution is above `TIMES`."""
    beyond = shape + 12.0 * sqrt(shape) + 20.0 < TIMES
    found = np.zeros_like(TIMES)
    found[~beyond] = 1.0 - _sooner(shape, TIMES[~beyond])
    return found


@lru_cache(256)
def _within(shape: float) -> np.ndarray:
    """How much of `TIMES` passes on average until then."""
    found = _later(shape)
    return np.append(0.0, np.cumsum((found[1:] + found[:-1]) / 2 * np.diff(TIMES)))


def _sooner(shape: np.ndarray | float, times: np.ndarray) -> np.ndarray:
    """How likely it is below: by the series of the incomplete gamma function, all positive."""
    with np.errstate(divide="ignore"):
        powers = np.asarray(shape) * np.log(times)
    term = np.exp(powers - times - np.vectorize(lgamma)(np.asarray(shape) + 1.0))
    total = term
    for count in range(1, TERMS):
        term = term * times / (shape + count)
        total = total + term
        if count > times.max() and term.max() < ENOUGH:
            break
    return np.minimum(total, 1.0)
