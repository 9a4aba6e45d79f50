"""Measuring engines on this device: interleaved, warmed up, in windows until they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from elastiq.latency import Latency

WARM_UP_RUNS = 5
WINDOW_RUNS = 10
WINDOW_SECONDS = 0.05
AGREEING_WINDOWS = 3
AGREEMENT = 0.10
GLANCE_RUNS = 20
ENOUGH_SAMPLES = 200
ENOUGH_WINDOWS = 10  # in turns: what a machine does besides comes in spells longer than a window


def measure(
    engines: Mapping[str, Callable[[], object]],
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Measure each engine for at most about `seconds`, in turns so that drift hits all alike."""
    first = {name: _timed(run, clock) for name, run in engines.items()}
    for run in engines.values():
        for _ in range(WARM_UP_RUNS):
            run()
    windows: dict[str, list[list[float]]] = {name: [] for name in engines}
    spent = dict.fromkeys(engines, 0.0)
    for name in _turns(windows, spent, seconds):
        window = _window(engines[name], clock)
        windows[name].append(window)
        spent[name] += sum(window)
    return {name: _latency(first[name], windows[name]) for name in engines}


def glance(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one run takes at its best, roughly and soon."""
    return min(_timed(run, clock) for _ in range(GLANCE_RUNS))


def _turns(
    windows: Mapping[str, list[list[float]]], spent: Mapping[str, float], seconds: float
) -> Iterator[str]:
    """Whose turn it is, until every engine is stable with enough samples, or its time is up."""
    waiting = list(windows)
    while waiting:
        yield from waiting
        waiting = [
            name for name in waiting if not _settled(windows[name]) and spent[name] < seconds
        ]


def _window(run: Callable[[], object], clock: Callable[[], float]) -> list[float]:
    times: list[float] = []
    while len(times) < WINDOW_RUNS or sum(times) < WINDOW_SECONDS:
        times.append(_timed(run, clock))
    return times


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _agree(windows: list[list[float]]) -> bool:
    medians = [float(np.median(window)) for window in windows[-AGREEING_WINDOWS:]]
    return len(medians) == AGREEING_WINDOWS and max(medians) <= (1 + AGREEMENT) * min(medians)


def _settled(windows: list[list[float]]) -> bool:
    enough = len(windows) >= ENOUGH_WINDOWS and sum(map(len, windows)) >= ENOUGH_SAMPLES
    return enough and _agree(windows)


def _latency(first: float, windows: list[list[float]]) -> Latency:
    times = np.concatenate([np.asarray(window) for window in windows])
    p50, p90, p99 = (float(value) for value in np.quantile(times, (0.5, 0.9, 0.99)))
    return Latency(p50, p90, p99, float(times.mean()), first, len(times), _agree(windows))
