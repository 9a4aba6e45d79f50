"""Measuring engines on this device: interleaved, warmed up, in windows until they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from elastiq.latency import Latency

WARM_UP_RUNS = 5
WINDOW_RUNS = 10
WINDOW_SECONDS = 0.05
AGREEING_WINDOWS = 3
AGREEMENT = 0.10
GLANCE_RUNS = 20
ENOUGH_SAMPLES = 200
ENOUGH_WINDOWS = 20  # in turns: what a machine does besides comes in spells longer than a window


def measure(
    engines: Mapping[str, Callable[[], object]],
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Measure each engine for at most about `seconds`, in turns so that drift hits all alike."""
    bench = Bench(engines, seconds, clock)
    for _ in bench.run():
        pass
    return {name: taken.latency for name, taken in bench.taken.items()}


def glance(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one run takes at its best, roughly and soon."""
    return min(_timed(run, clock) for _ in range(GLANCE_RUNS))


@dataclass(frozen=True)
class Window:
    """Runs of an engine one right after another, in seconds: the least that is measured at once."""

    engine: str
    times: tuple[float, ...]
    joules: float | None = None  # None: nothing counts
    first: bool = False  # the very first run alone, which is slower


@dataclass
class Taken:
    """All that an engine's runs took."""

    first: float | None = None
    windows: list[tuple[float, ...]] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)

    @property
    def spent(self) -> float:
        return sum(map(sum, self.windows))

    @property
    def settled(self) -> bool:
        """Whether no more windows are needed."""
        enough = len(self.windows) >= ENOUGH_WINDOWS
        return enough and sum(map(len, self.windows)) >= ENOUGH_SAMPLES and _agree(self.windows)

    @property
    def latency(self) -> Latency:
        times, first = self._times, self.first or 0.0
        p50, p90, p99 = (float(value) for value in np.quantile(times, (0.5, 0.9, 0.99)))
        stable = _agree(self.windows)
        return Latency(p50, p90, p99, float(times.mean()), first, len(times), stable)

    @property
    def spread(self) -> float:
        """How close together the middle half of all runs lies, in seconds."""
        low, high = np.quantile(self._times, (0.25, 0.75))
        return float(high - low)

    @property
    def energy(self) -> float | None:
        """Joules per run, if all windows were counted."""
        if len(self.joules) < len(self.windows):
            return None
        return sum(self.joules) / len(self._times)

    @property
    def _times(self) -> np.ndarray:
        return np.concatenate([np.asarray(window) for window in self.windows])


class Bench:
    """Measures engines in turns. What was measured before, by a process that is gone, counts."""

    def __init__(
        self,
        engines: Mapping[str, Callable[[], object]],
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
        joules: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._engines = engines
        self._seconds = seconds
        self._clock = clock
        self._joules = joules
        self.taken = {name: Taken() for name in engines}

    def take(self, window: Window) -> None:
        """Count a window in."""
        taken = self.taken[window.engine]
        if window.first:
            taken.first = taken.first or window.times[0]
            return
        taken.windows.append(window.times)
        if window.joules is not None:
            taken.joules.append(window.joules)

    def run(self) -> Iterator[Window]:
        """Each window that was measured, right after it was."""
        for name, run in self._engines.items():
            window = Window(name, (_timed(run, self._clock),), first=True)
            self.take(window)
            yield window
        for run in self._engines.values():
            for _ in range(WARM_UP_RUNS):
                run()
        for name in self._turns():
            window = self._window(name)
            self.take(window)
            yield window

    def _turns(self) -> Iterator[str]:
        """Whose turn it is, until every engine is stable with enough samples, or its time is up."""
        while waiting := {n: taken for n, taken in self.taken.items() if self._wants(taken)}:
            fewest = min(len(taken.windows) for taken in waiting.values())
            yield from [n for n, taken in waiting.items() if len(taken.windows) == fewest]

    def _wants(self, taken: Taken) -> bool:
        return not taken.settled and taken.spent < self._seconds

    def _window(self, name: str) -> Window:
        times: list[float] = []
        before = self._joules()
        while len(times) < WINDOW_RUNS or sum(times) < WINDOW_SECONDS:
            times.append(_timed(self._engines[name], self._clock))
        after = self._joules()
        used = None if before is None or after is None else after - before
        return Window(name, tuple(times), used)


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _agree(windows: list[tuple[float, ...]]) -> bool:
    medians = [float(np.median(window)) for window in windows[-AGREEING_WINDOWS:]]
    return len(medians) == AGREEING_WINDOWS and max(medians) <= (1 + AGREEMENT) * min(medians)
