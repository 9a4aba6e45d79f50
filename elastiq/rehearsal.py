"""What this device takes beside what its latency table says, tried out for a few seconds.

A table is measured in a tight loop, and on another day. Requests come to a worker from another
thread, and find caches cold and cores asleep; and the device may be slower than it was, or faster.
Simulations that are to come out as the real thing must know by how much.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from itertools import chain
from statistics import StatisticsError, fmean, linear_regression, median
from typing import NamedTuple

from elastiq.bundle import Bundle
from elastiq.correction import chill
from elastiq.load import LoadMonitor
from elastiq.protocols import Arrays
from elastiq.requests import Answer
from elastiq.worker import Worker

RARE = 60  # requests that find nobody at work
PAUSE = 6.0  # typical runs before each of them
ROUNDS = 3  # of every point in turn: the device has slower spells
RUSH = 20  # requests at once
SPELL = 6  # runs of a point in a row, before it is another's turn
FURTHER = 0.25  # of the time after a run, for each more that it answered: as measured for four


class Beside(NamedTuple):
    """How runs differ from those that were measured: in seconds, but for the first."""

    stretch: float = 1.0  # times as long is each run,
    added: float = 0.0  # and by so much longer
    waking: float = 0.0  # by which one is longer that finds all caches cold
    shifting: float = 0.0  # and one at another point than the run just before
    handing: float = 5e-5  # until a worker that sleeps begins
    after: float = 1e-4  # until the next can begin

    def took(self, measured: float) -> float:
        """How long a run takes that was measured to take so long."""
        return self.stretch * measured + self.added

    def pause(self, answered: int) -> float:
        """Until the next run can begin, after one that answered so many."""
        return self.after * (1.0 + FURTHER * (answered - 1))

    def __str__(self) -> str:
        added, waking, shifting, handing, after = (f"{1e3 * span:.2f} ms" for span in self[1:])
        return (
            f"a run takes {self.stretch:.2f} times as long as in the table and {added}, "
            f"{waking} more with cold caches and {shifting} more after another point's; it begins "
            f"{handing} after a request and {after} after a run"
        )


def rehearse(bundle: Bundle, rare: int = RARE) -> Beside:
    """Send requests to every point of a bundle, many at once, and to one of them rarely."""
    points = bundle.manifest.points
    usual = [bundle.table.of(point, 0.0).p50 for point in points]
    fewest = min(point.takes for point in points)
    such = [place for place, point in enumerate(points) if point.takes == fewest]
    middle = such[len(such) // 2]
    inputs = bundle.samples().input(0)
    with ExitStack() as stack:
        load = stack.enter_context(LoadMonitor())  # one for all: to watch takes time as well
        workers = [
            stack.enter_context(bundle.serve("fixed", load=load, point=point.name))
            for point in points
        ]
        bundle.settle()
        pause = PAUSE * usual[middle]
        woken = [_one(workers[middle], inputs, pause) for _ in range(rare)]
        rushes = [[_rush(worker, inputs) for worker in workers] for _ in range(ROUNDS)]
        names = [point.name for point in points]
        shifts = [more for _ in range(ROUNDS) for more in _shifts(workers[middle], names, inputs)]
    busy = [median(took for runs, _ in rush for took in runs) for rush in zip(*rushes, strict=True)]
    stretch, added = _line(usual, busy)
    between = median(each * fewest - fmean(runs) for runs, each in (r[middle] for r in rushes))
    waking = (median(answer.took for answer, _ in woken) - busy[middle]) / chill(pause)
    handing = median(latency - answer.took for answer, latency in woken)
    shifting = median(shifts or [0.0])
    return Beside(stretch, added, max(0.0, waking), max(0.0, shifting), handing, max(0.0, between))


def _one(worker: Worker, inputs: Arrays, pause: float) -> tuple[Answer, float]:
    """An answer, and its latency from the moment that it was meant to be sent."""
    done: list[float] = []
    due = time.perf_counter() + pause
    time.sleep(pause)
    future = worker.submit(inputs)
    future.add_done_callback(lambda _: done.append(time.perf_counter()))
    wait([future])  # and leave the answer to the worker's thread, as whoever sends many does
    answer = future.result()
    while not done:  # whoever waits may be told before callbacks are called
        time.sleep(0.0)
    return answer, done[0] - due


def _rush(worker: Worker, inputs: Arrays) -> tuple[list[float], float]:
    """Of many requests that come at once: how long their runs take, and how long each of them."""
    begun = time.perf_counter()
    futures = [worker.submit(inputs) for _ in range(min(RUSH, worker.limit))]
    wait(futures)
    each = (time.perf_counter() - begun) / len(futures)
    return [future.result().took for future in futures], each


def _shifts(worker: Worker, names: Sequence[str], inputs: Arrays) -> list[float]:
    """By how much the first run of a point takes longer than those after it, where many wait."""
    found = []
    most = worker.limit // SPELL
    for begin in range(0, len(names), most):
        some = names[begin : begin + most]
        futures = [[worker.submit(inputs, point=name) for _ in range(SPELL)] for name in some]
        wait(chain.from_iterable(futures))
        took = [[future.result().took for future in spell] for spell in futures]
        # Before the first of all, nobody knows what ran, or when.
        found += [first - median(rest) for first, *rest in took[1:]]
    return found


def _line(measured: Sequence[float], found: Sequence[float]) -> tuple[float, float]:
    """Times as long, and by so much longer, with errors that count as shares of the runs."""
    ratios = [now / then for now, then in zip(found, measured, strict=True)]
    short = [1.0 / then for then in measured]
    try:
        added = linear_regression(short, ratios).slope
    except StatisticsError:  # of one point alone, nothing tells the two apart
        added = 0.0
    added = min(max(0.0, added), min(found) / 2)
    return fmean(r - added * s for r, s in zip(ratios, short, strict=True)), added
