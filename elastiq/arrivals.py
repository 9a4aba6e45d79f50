"""When requests arrive: seeded moments, in seconds from 0, for replays that can be repeated."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timezone
from math import inf
from pathlib import Path

import numpy as np

from elastiq.errors import ElastiqError, unknown

WARM_UP = (
    20  # mean gaps, times the spread's square, until a renewal process has forgotten its start
)


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Independent requests, `rate` a second on average."""
    return _uniform(np.random.default_rng(seed), rate, 0.0, seconds)


def gamma(rate: float, seconds: float, seed: int = 0, cv: float = 3.0) -> np.ndarray:
    """Requests in clumps: gaps are gamma-distributed, `cv` is their deviation over their mean.

    A `cv` of 1 is `poisson`.
    """
    _check(rate, seconds)
    if not 0 < cv < inf:
        raise ElastiqError(f"the deviation of gaps over their mean must be above 0, not {cv:g}")
    random = np.random.default_rng(seed)
    shape = cv**-2
    start = -WARM_UP * max(1.0, cv**2) / rate
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


def ramp(rate: float, seconds: float, seed: int = 0, times: float = 4.0) -> np.ndarray:
    """Independent requests whose rate rises evenly, to `times` that of the beginning.

    `rate` is the mean over the whole.
    """
    _check(rate, seconds)
    if not times > 0:
        raise ElastiqError(f"a ramp needs a factor above 0, not {times:g}")
    random = np.random.default_rng(seed)
    shares = np.sort(random.uniform(0.0, 1.0, random.poisson(rate * seconds)))
    # Where the count up to t rises as t + (times - 1) t²/2, as a share of all.
    rise = times - 1.0
    if abs(rise) < 1e-9:
        return seconds * shares
    return seconds * (np.sqrt(1.0 + shares * rise * (rise + 2.0)) - 1.0) / rise


def trace(path: Path, rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Recorded requests, their gaps all scaled alike so that `rate` come a second on average.

    `path` is a text file of one moment a line (seconds, or a date and time, in the first column).
    What is taken of a longer recording begins where the seed says.
    """
    _check(rate, seconds)
    recorded = _recorded(path)
    scaled = (recorded - recorded[0]) * ((len(recorded) - 1) / (recorded[-1] - recorded[0]) / rate)
    spare = scaled[-1] - seconds
    if spare < -1e-9 * seconds:
        raise ElastiqError(
            f"{path} has {len(recorded)} requests, not enough for {seconds:g} s at {rate:.0f} a "
            f"second. Take at most {scaled[-1]:.1f} seconds"
        )
    begin = np.random.default_rng(seed).uniform(0.0, max(0.0, spare))
    end = begin + seconds * (1 - 1e-9)  # beyond rounding: a gap that ends there belongs to it
    return scaled[(scaled >= begin) & (scaled < end)] - begin


def _recorded(path: Path) -> np.ndarray:
    """The moments of a trace file, in seconds from any moment on, in order."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ElastiqError(f"the trace {path} cannot be read: {e}") from e
    cells = [line.split(",", 1)[0].strip() for line in lines if line.strip()]
    try:
        moments = np.array([_seconds(cell) for cell in cells[not _is_moment(cells[0]) :]])
    except (ValueError, IndexError) as e:
        raise ElastiqError(f"the trace {path} is not a list of moments: {e}") from e
    if len(moments) < 2 or not moments[-1] > moments[0] or np.any(np.diff(moments) < 0):
        raise ElastiqError(f"the moments of the trace {path} are too few, or not in order")
    return moments


def _seconds(cell: str) -> float:
    """A moment as a number, or as a date and time with any number of digits."""
    try:
        return float(cell)
    except ValueError:
        whole, _, part = cell.partition(".")
        at = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
        return at + float(f"0.{part or 0}")


def _is_moment(cell: str) -> bool:
    try:
        _seconds(cell)
    except ValueError:
        return False
    return True


def _uniform(random: np.random.Generator, rate: float, begin: float, end: float) -> np.ndarray:
    _check(rate, end)
    return np.sort(random.uniform(begin, end, random.poisson(rate * (end - begin))))


def _check(rate: float, seconds: float) -> None:
    if rate <= 0 or seconds < 0:
        raise ElastiqError(f"cannot send {rate:g} requests a second for {seconds:g} seconds")


ARRIVALS: dict[str, Callable[..., np.ndarray]] = {
    "poisson": poisson,
    "gamma": gamma,
    "step": step,
    "ramp": ramp,
}


def arrivals(name: str, rate: float, seconds: float, seed: int = 0, **shape: float) -> np.ndarray:
    """The arrivals of a name; `shape` is what only some of them know: `cv`, or `times`."""
    if name not in ARRIVALS:
        raise unknown("kind of arrivals", name, ARRIVALS)
    draw = ARRIVALS[name]
    takes = inspect.signature(draw).parameters
    for option in shape:
        if option not in takes:
            raise ElastiqError(f"{name} arrivals know no {option}")
    return draw(rate, seconds, seed, **shape)
