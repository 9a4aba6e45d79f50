"""Measuring engines on this device: interleaved, warmed up, in windows until they agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from math import sqrt

import numpy as np

from elastiq.latency import Latency

WARM_UP_RUNS = 5
WINDOW_RUNS = 10
WINDOW_SECONDS = 0.05
AGREEING = 3  # parts of all windows in order, whose medians must come to the same
AGREEMENT = 0.10
GLANCE_RUNS = 20
ENOUGH_SAMPLES = 200
ENOUGH_WINDOWS = 20  # in turns: what a machine does besides comes in spells longer than a window
PARTS = 10  # of them, by which it is known how sure a median is
SURE = 0.02  # of a median: its standard error

Engines = Mapping[str, Callable[[], object]]  # a run of each, by its name


def measure(
    engines: Engines,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Measure each engine for at most about `seconds`, in turns so that drift hits all alike."""
    bench = Bench(engines, seconds, clock)
    for _ in chain(bench.begin(engines), bench.turns(engines)):
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
        enough = enough and sum(map(len, self.windows)) >= ENOUGH_SAMPLES
        return enough and _agree(self.windows) and _error(self.windows) <= SURE

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
    """Measures engines in turns. What was measured before, by a process that is gone, counts.

    The engines themselves are given anew each time: who measures may close them between turns.
    """

    def __init__(
        self,
        names: Iterable[str],
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
        joules: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._joules = joules
        self.taken = {name: Taken() for name in names}

    @property
    def begun(self) -> bool:
        """Whether the first run of every engine is known."""
        return all(taken.first is not None for taken in self.taken.values())

    @property
    def done(self) -> bool:
        """Whether every engine is stable with enough samples, or its time is up."""
        return not self._waiting()

    @property
    def share(self) -> float:
        """How much is done, if all time that may be taken is."""
        shares = [
            min(1.0, taken.spent / self._seconds) if self._wants(taken) else 1.0
            for taken in self.taken.values()
        ]
        return sum(shares) / len(shares)

    def take(self, window: Window) -> None:
        """Count a window in."""
        taken = self.taken[window.engine]
        if window.first:
            taken.first = taken.first or window.times[0]
            return
        taken.windows.append(window.times)
        if window.joules is not None:
            taken.joules.append(window.joules)

    def begin(self, engines: Engines) -> Iterator[Window]:
        """The first run of each engine; then they are warmed up."""
        for name, run in engines.items():
            yield self._taken(Window(name, (_timed(run, self._clock),), first=True))
        warm_up(engines)

    def turns(self, engines: Engines, count: int | None = None) -> Iterator[Window]:
        """Each window that was measured, right after it was: so many for each engine at most."""
        for _ in repeat(None) if count is None else range(count):
            waiting = self._waiting()
            if not waiting:
                return
            fewest = min(len(taken.windows) for taken in waiting.values())
            for name in [n for n, taken in waiting.items() if len(taken.windows) == fewest]:
                yield self._taken(self._window(name, engines[name]))

    def _waiting(self) -> dict[str, Taken]:
        return {name: taken for name, taken in self.taken.items() if self._wants(taken)}

    def _wants(self, taken: Taken) -> bool:
        return not taken.settled and taken.spent < self._seconds

    def _taken(self, window: Window) -> Window:
        self.take(window)
        return window

    def _window(self, name: str, run: Callable[[], object]) -> Window:
        times: list[float] = []
        before = self._joules()
        while len(times) < WINDOW_RUNS or sum(times) < WINDOW_SECONDS:
            times.append(_timed(run, self._clock))
        after = self._joules()
        used = None if before is None or after is None else after - before
        return Window(name, tuple(times), used)


def warm_up(engines: Engines) -> None:
    """Runs that count for nothing."""
    for run in engines.values():
        for _ in range(WARM_UP_RUNS):
            run()


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _agree(windows: list[tuple[float, ...]]) -> bool:
    medians = _parts(windows, AGREEING)
    return len(medians) == AGREEING and max(medians) <= (1 + AGREEMENT) * min(medians)


def _error(windows: list[tuple[float, ...]]) -> float:
    """The standard error of the median of all runs, as a share of it."""
    medians = _parts(windows, PARTS)
    return float(np.std(medians, ddof=1) / sqrt(len(medians)) / np.mean(medians))


def _parts(windows: list[tuple[float, ...]], count: int) -> list[float]:
    """The medians of so many parts of the windows, or of each window where there are fewer."""
    medians = [float(np.median(window)) for window in windows]
    parts = np.array_split(medians, min(count, len(medians)) or 1)
    return [float(np.median(part)) for part in parts if len(part)]
