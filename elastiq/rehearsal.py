"""What this device takes beside what its latency table says, tried out for a few seconds.

A table is measured in a tight loop, and on another day. Requests come to a worker from another
thread, and find caches cold and cores asleep; and the device may be slower than it was, or faster.
Simulations that are to come out as the real thing must know by how much.
"""

from __future__ import annotations

import operator
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import ExitStack, suppress
from itertools import accumulate, chain
from statistics import StatisticsError, fmean, linear_regression, median
from typing import Any, NamedTuple

from elastiq import timers
from elastiq.bundle import Bundle
from elastiq.errors import QueueFull
from elastiq.load import LoadMonitor
from elastiq.protocols import Arrays
from elastiq.requests import Answer
from elastiq.rests import LENGTHS, NOTHING, Curve, cost, flat
from elastiq.worker import Worker

RARE = 20  # requests that find nobody at work, after each of
PAUSES = LENGTHS[:-1]  # since the last: after the longest, all is about as cold
ROUNDS = 3  # of every point in turn: the device has slower spells
RUSH = 20  # requests at once, or as many as that many runs answer,
HURRY = 0.8  # so soon after another, beside what by the table one takes
SPELL = 6  # runs of a point in a row,
FEW = 2  # and of another that wait at a time
FURTHER = 0.25  # of the time after a run, for each more that it answered: as measured for four


class Beside(NamedTuple):
    """How runs differ from those that were measured: in seconds, but for the first. What depends on
    a rest is told for several."""

    stretch: float = 1.0  # times as long is each run,
    added: float = 0.0  # and by so much longer
    waking: Curve = NOTHING  # by which one is longer, by how long nothing ran before,
    returning: Curve = NOTHING  # and by how long its own point did not
    sending: float = 0.0  # until who sends many at once has sent the next
    handing: Curve = flat(5e-5)  # until a worker that sleeps begins, by how long nothing ran
    after: float = 1e-4  # until the next can begin

    def took(self, measured: float) -> float:
        """How long a run takes that was measured to take so long."""
        return self.stretch * measured + self.added

    def starting(self, rest: float, away: float, moved: bool) -> float:
        """How much longer one takes after such a rest, at a point that did not run for longer if it
        moved there."""
        returning = cost(self.returning, away) - (0.0 if moved else self.returning[0])
        return cost(self.waking, rest) + returning

    def pause(self, answered: int) -> float:
        """Until the next run can begin, after one that answered so many."""
        return self.after * (1.0 + FURTHER * (answered - 1))

    def __str__(self) -> str:
        stretch, added, waking, returning, sending, handing, after = self
        return (
            f"a run takes {stretch:.2f} times as long as in the table and {1e3 * added:.2f} ms, "
            f"after a rest {_spell(waking)} more, and where its point rested {_spell(returning)}; "
            f"it begins {_spell(handing)} after a request, which is sent {1e3 * sending:.2f} ms "
            f"after another, and {1e3 * after:.2f} ms after a run"
        )


def mean(some: Sequence[Beside]) -> Beside:
    """What lies in the middle of several."""
    return Beside(*map(_mean, zip(*some, strict=True)))


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, or of curves."""
    if isinstance(values[0], tuple):
        return tuple(map(fmean, zip(*values, strict=True)))
    return fmean(values)


def _spell(curve: Curve) -> str:
    """The least and the most of it."""
    least, most = (f"{1e3 * seconds:.2f}" for seconds in (min(curve), max(curve)))
    return f"{least} ms" if least == most else f"{least} to {most} ms"


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
        woken = [[_one(workers[middle], inputs, pause) for pause in PAUSES] for _ in range(rare)]
        streams = [
            [
                _stream(worker, inputs, RUSH * point.takes, took / point.takes)
                for worker, point, took in zip(workers, points, usual, strict=True)
            ]
            for _ in range(ROUNDS)
        ]
        rushes = [_rush(workers[middle], inputs) for _ in range(ROUNDS)]
        names = [points[place].name for place in such]
        returns = [
            [_return(workers[middle], one, other, inputs, pause) for pause in (0.0, *PAUSES)]
            for _ in range(ROUNDS)
            for one, other in _neighbours(names)
        ]
    busy = [median(chain.from_iterable(runs)) for runs in zip(*streams, strict=True)]
    stretch, added = _line(usual, busy)
    between = median(rush.each * fewest - fmean(rush.runs) for rush in rushes)
    sending = median(rush.sending for rush in rushes)
    returning = _rising(map(median, zip(*returns, strict=True))) if returns else NOTHING
    after = list(zip(*woken, strict=True))  # each of the pauses
    rested = [median(answer.took for answer, _ in ones) - busy[middle] for ones in after]
    own = [cost(returning, pause) - returning[0] for pause in PAUSES]  # its caches got cold as well
    waking = _rising([0.0, *map(operator.sub, rested, own)])
    handed = [max(0.0, median(wait - answer.took for answer, wait in ones)) for ones in after]
    handing = (handed[0], *handed, handed[-1])
    return Beside(stretch, added, waking, returning, sending, handing, max(0.0, between))


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


def _neighbours(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each point with another; none, where there is no other."""
    return zip(names, (*names[1:], names[0]), strict=True) if len(names) > 1 else iter(())


def _return(worker: Worker, name: str, other: str, inputs: Arrays, away: float) -> float:
    """By how much a point's run takes longer than those before, after so long with another's: one
    after the other, for the worker never waits."""
    usual = [worker.submit(inputs, point=name) for _ in range(SPELL)]
    between = deque(worker.submit(inputs, point=other) for _ in range(FEW))
    wait(usual)
    until = time.perf_counter() + away
    while time.perf_counter() < until:
        wait([between.popleft()])
        between.append(worker.submit(inputs, point=other))
    wait([last := worker.submit(inputs, point=name)])
    return last.result().took - median(future.result().took for future in usual[1:])


def _rising(costs: Iterable[float]) -> Curve:
    """A curve through what was found after no rest and after `PAUSES`: a longer one costs no less,
    and none less than nothing."""
    curve = [max(0.0, most) for most in accumulate(costs, max)]
    return (*curve, curve[-1])


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
