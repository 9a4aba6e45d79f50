"""What this device takes beside what its latency table says, tried out for a few seconds.

A table is measured in a tight loop, and on another day. Requests come to a worker from another
thread, and find caches cold and cores asleep; and the device may be slower than it was, or faster.
Simulations that are to come out as the real thing must know by how much.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import ExitStack, suppress
from itertools import chain
from math import exp, log
from statistics import StatisticsError, fmean, linear_regression, median
from typing import NamedTuple

from elastiq import timers
from elastiq.bundle import Bundle
from elastiq.correction import change
from elastiq.errors import QueueFull
from elastiq.load import LoadMonitor
from elastiq.protocols import Arrays
from elastiq.requests import Answer
from elastiq.worker import Worker

RARE = 40  # requests that find nobody at work,
PAUSE, LONG_PAUSE = 0.01, 0.1  # seconds after the last, in turns
SOONEST, LATEST = 1e-3, 0.05  # seconds, in which caches cool
ROUNDS = 3  # of every point in turn: the device has slower spells
RUSH = 20  # requests at once, or as many as that many runs answer,
HURRY = 0.8  # so soon after another, beside what by the table one takes
SPELL = 6  # runs of a point in a row, before it is another's turn
FURTHER = 0.25  # of the time after a run, for each more that it answered: as measured for four


class Beside(NamedTuple):
    """How runs differ from those that were measured: in seconds, but for the first."""

    stretch: float = 1.0  # times as long is each run,
    added: float = 0.0  # and by so much longer
    waking: float = 0.0  # by which one is longer that finds all caches cold,
    cooling: float = 0.01  # after how long without a run they are so by two thirds,
    shifting: float = 0.0  # and one at another point than the run just before
    sending: float = 0.0  # until who sends many at once has sent the next
    handing: float = 5e-5  # until a worker that sleeps begins
    after: float = 1e-4  # until the next can begin

    def took(self, measured: float) -> float:
        """How long a run takes that was measured to take so long."""
        return self.stretch * measured + self.added

    def starting(self, rest: float, moved: bool) -> float:
        """How much longer one takes after such a rest, and if it moved to another point."""
        cold = 1.0 - exp(-rest / self.cooling)
        return cold * self.waking + (change(self.shifting, cold) if moved else 0.0)

    def pause(self, answered: int) -> float:
        """Until the next run can begin, after one that answered so many."""
        return self.after * (1.0 + FURTHER * (answered - 1))

    def __str__(self) -> str:
        added, waking, cooling, shifting, sending, handing, after = (
            f"{1e3 * span:.2f} ms" for span in self[1:]
        )
        return (
            f"a run takes {self.stretch:.2f} times as long as in the table and {added}, {waking} "
            f"more with cold caches, which they are by two thirds after {cooling}, and {shifting} "
            f"more after another point's; it begins {handing} after a request, which is sent "
            f"{sending} after another, and {after} after a run"
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
        stack.enter_context(timers.exact())
        load = stack.enter_context(LoadMonitor())  # one for all: to watch takes time as well
        workers = [
            stack.enter_context(bundle.serve("fixed", load=load, point=point.name))
            for point in points
        ]
        bundle.settle()
        woken = [
            [_one(workers[middle], inputs, pause) for pause in (PAUSE, LONG_PAUSE)]
            for _ in range(rare // 2)
        ]
        streams = [
            [
                _stream(worker, inputs, RUSH * point.takes, took / point.takes)
                for worker, point, took in zip(workers, points, usual, strict=True)
            ]
            for _ in range(ROUNDS)
        ]
        rushes = [_rush(workers[middle], inputs) for _ in range(ROUNDS)]
        names = [point.name for point in points]
        shifts = [more for _ in range(ROUNDS) for more in _shifts(workers[middle], names, inputs)]
    busy = [median(chain.from_iterable(runs)) for runs in zip(*streams, strict=True)]
    stretch, added = _line(usual, busy)
    between = median(rush.each * fewest - fmean(rush.runs) for rush in rushes)
    sending = median(rush.sending for rush in rushes)
    more = [median(one.took for one, _ in such) - busy[middle] for such in zip(*woken, strict=True)]
    handing = median(latency - one.took for (one, latency), _ in woken)
    shifting = median(shifts or [0.0])
    return Beside(
        stretch, added, *_cooling(*more), max(0.0, shifting), sending, handing, max(0.0, between)
    )


def _one(worker: Worker, inputs: Arrays, pause: float) -> tuple[Answer, float]:
    """An answer so long after others, and its latency from the moment that it was meant to be
    sent."""
    wait([worker.submit(inputs) for _ in range(SPELL)])
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


def _stream(worker: Worker, inputs: Arrays, count: int, each: float) -> list[float]:
    """Of requests that come a little faster than they are answered, as by the table one is after
    `each` seconds: how long their runs take."""
    futures, due = [], time.perf_counter()
    for _ in range(count):
        due += HURRY * each
        if (left := due - time.perf_counter()) > 0.0:
            time.sleep(left)
        with suppress(QueueFull):
            futures.append(worker.submit(inputs))
    wait(futures)
    return [future.result().took for future in futures]


class _Rush(NamedTuple):
    """Many requests that came at once: in seconds, what their runs took,"""

    runs: list[float]
    each: float  # each of them, from the first sent to the last answered,
    sending: float  # and to send one


def _rush(worker: Worker, inputs: Arrays) -> _Rush:
    count = min(RUSH, worker.limit)
    begun = time.perf_counter()
    futures = [worker.submit(inputs) for _ in range(count)]
    sent = time.perf_counter()
    wait(futures)
    each, sending = (time.perf_counter() - begun) / count, (sent - begun) / count
    return _Rush([future.result().took for future in futures], each, sending)


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


def _cooling(sooner: float, later: float) -> tuple[float, float]:
    """What a run takes more with cold caches, and how soon they are so, by how much more it took
    after the two pauses."""
    waking = max(0.0, sooner, later)
    warm = min(1.0 - 1e-9, max(1e-9, 1.0 - sooner / waking)) if waking > 0.0 else 1e-9
    cooling = min(LATEST, max(SOONEST, -PAUSE / log(warm)))
    return waking / (1.0 - exp(-LONG_PAUSE / cooling)), cooling


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
