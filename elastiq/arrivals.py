"""When requests arrive: seeded moments, in seconds from 0, for replays that can be repeated."""

from __future__ import annotations

import numpy as np

from elastiq.errors import ElastiqError, unknown

WARM_UP = (
    20  # mean gaps, times the spread's square, until a renewal process has forgotten its start
)


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Independent requests, `rate` a second on average."""
    return _uniform(np.random.default_rng(seed), rate, 0.0, seconds)


def bursty(rate: float, seconds: float, seed: int = 0, spread: float = 3.0) -> np.ndarray:
    """Requests in clumps: gaps are gamma-distributed, `spread` is their deviation over their mean.

    A spread of 1 is `poisson`.
    """
    _check(rate, seconds)
    if spread <= 0:
        raise ElastiqError(f"the spread of arrivals must be above 0, not {spread:g}")
    random = np.random.default_rng(seed)
    shape = spread**-2
    start = -WARM_UP * max(1.0, spread**2) / rate
    expected = (seconds - start) * rate
    parts, last = [], start
    while last < seconds:
        gaps = random.gamma(shape, 1 / (rate * shape), size=int(expected) + 64)
        parts.append(last + np.cumsum(gaps))
        last = parts[-1][-1]
    moments = np.concatenate(parts)
    return moments[(moments >= 0) & (moments < seconds)]


def step(
    rate: float,
    seconds: float,
    seed: int = 0,
    times: float = 4.0,
    between: tuple[float, float] = (1 / 3, 2 / 3),
) -> np.ndarray:
    """Independent requests whose rate is `times` higher in one part of the time.

    `between` gives that part as shares of `seconds`; `rate` is the mean over the whole.
    """
    begin, end = between
    if not (0 <= begin < end <= 1 and times > 0):
        raise ElastiqError("a step needs 0 <= begin < end <= 1, and a factor above 0")
    random = np.random.default_rng(seed)
    calm = rate / (1 + (times - 1) * (end - begin))
    return np.concatenate(
        [
            _uniform(random, calm, 0.0, begin * seconds),
            _uniform(random, calm * times, begin * seconds, end * seconds),
            _uniform(random, calm, end * seconds, seconds),
        ]
    )


def _uniform(random: np.random.Generator, rate: float, begin: float, end: float) -> np.ndarray:
    _check(rate, end)
    return np.sort(random.uniform(begin, end, random.poisson(rate * (end - begin))))


def _check(rate: float, seconds: float) -> None:
    if rate <= 0 or seconds < 0:
        raise ElastiqError(f"cannot send {rate:g} requests a second for {seconds:g} seconds")


ARRIVALS = {"poisson": poisson, "bursty": bursty, "step": step}


def arrivals(name: str, rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """The arrivals of a name, with their usual shape."""
    if name not in ARRIVALS:
        raise unknown("kind of arrivals", name, ARRIVALS)
    return ARRIVALS[name](rate, seconds, seed)
