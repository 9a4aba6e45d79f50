"""Values in steps: the same few situations come back, and what was found for them is kept."""

from __future__ import annotations

from math import exp, log

SHORTEST = 1e-6  # seconds


def steady(step: float, value: float, used: float | None) -> float:
    """The value in steps; the one in use for as long as it is less than a step away."""
    if used is not None and abs(value - used) < step:
        return used
    return round(value / step) * step


def steady_ratio(step: float, value: float | None, used: float | None) -> float | None:
    """The same in steps of the logarithm."""
    if value is None:
        return None
    return exp(steady(step, log(max(SHORTEST, value)), used and log(used)))
