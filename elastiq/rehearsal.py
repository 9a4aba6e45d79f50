"""What this device takes beside what its latency table says, tried out for a second or two.

A table is measured in a tight loop. Requests come to a worker from another thread, and find caches
cold and cores asleep: simulations that are to come out as the real thing must know by how much.
"""

from __future__ import annotations

import time
from concurrent.futures import wait
from statistics import median
from typing import NamedTuple

from elastiq.bundle import Bundle
from elastiq.protocols import Arrays
from elastiq.requests import Answer
from elastiq.worker import Worker

RUNS = 150
PAUSE = 6.0  # typical runs between requests that find nobody at work


class Beside(NamedTuple):
    """Seconds beside a run as it was measured."""

    handing: float = 0.0  # until a worker that sleeps begins
    added: float = 0.0  # by which each run is longer
    waking: float = 0.0  # by which one is longer that follows a pause
    after: float = 1e-4  # until the next can begin


def rehearse(bundle: Bundle, runs: int = RUNS) -> Beside:
    """Send requests to the middle point of a bundle, rarely and one after another."""
    points = bundle.manifest.points
    point = points[len(points) // 2]
    usual = bundle.table.of(point, 0.0).p50
    samples = bundle.samples()
    with bundle.serve("fixed", point=point.name) as worker:
        bundle.settle()
        rare = [_one(worker, samples.input(0), PAUSE * usual) for _ in range(runs)]
        begun = time.perf_counter()
        futures = [worker.submit(samples.input(0)) for _ in range(min(runs, worker.limit))]
        wait(futures)
        dense = [future.result().took for future in futures]
        each = (time.perf_counter() - begun) / len(dense)
    busy = median(dense)
    woken = median(answer.took for answer, _ in rare)
    handing = median(latency - answer.took for answer, latency in rare)
    added = max(0.0, busy - usual)
    return Beside(handing, added, max(0.0, woken - busy), max(0.0, each - sum(dense) / len(dense)))


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
