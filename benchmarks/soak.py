"""Random load, bundle updates and broken sensors for half an hour, and nothing lost meanwhile.

    python -m benchmarks.soak BUNDLE --minutes 30

Several clients send requests at random rates, with and without deadlines, points and least scores,
and take some of them back. Meanwhile the bundle is loaded anew again and again, and a sensor says
nonsense, says nothing, fails, or hangs. Every answer is compared with the one that verification
recorded for its sample and point, so that one that went to somebody else would be seen. At the end,
every request must have come to exactly one end, and memory, threads and files must be what they
were after the first fifth.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

import elastiq
from elastiq import load, sensors
from elastiq.errors import DeadlineMissed, QueueFull
from elastiq.requests import Answer
from elastiq.samples import Samples
from elastiq.server.models import Models, Wishes

NAME = "model"
CLIENTS = 4
UPDATE_EVERY = 2.0  # seconds, on average
TOLERANCE = 1e-3
WARM = 0.2  # of the time, after which nothing may grow
PATIENCE = 30.0  # seconds for the last answers
GROWTH_MB, GROWTH_THREADS, GROWTH_FILES = 16.0, 4, 8


class Faulty:
    """A sensor that does all that a sensor may do wrong."""

    name = "faulty"
    period = 0.0

    def __init__(self, random: random.Random) -> None:
        self._random = random

    def read(self) -> dict[str, float] | None:
        fault = self._random.random()
        if fault < 0.01:
            raise OSError("the sensor is gone")
        if fault < 0.02:
            time.sleep(0.2)
        if fault < 0.1:
            return None
        return {"others": self._random.choice([float("nan"), float("inf"), -1e9, 1e9, 0.5])}


@dataclass
class Soak:
    """What happened."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sizes: list[tuple[float, int, int]] = field(default_factory=list)  # MB, threads, files

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def settled(
        self, future: Future[Answer], sample: int, samples: Samples, ends: list[int]
    ) -> None:
        """Take in one end of a request; it must be its only one."""
        ends.append(1)
        if len(ends) > 1:
            self.wrong.append(f"a request came to {len(ends)} ends")
        try:
            answer = future.result()
        except (DeadlineMissed, CancelledError) as e:
            self.count(type(e).__name__)
            return
        except Exception as e:
            self.wrong.append(f"a request failed: {e!r}")
            return
        self.count("answered")
        for name, golden in samples.outputs[answer.point].items():
            expected = golden[sample : sample + 1]
            error = np.abs(answer.outputs[name] - expected)
            if not np.all(error <= TOLERANCE * np.abs(expected).max()):
                self.wrong.append(f"sample {sample} at {answer.point} has another's answer")


def soak(path: Path, seconds: float, seed: int = 0) -> Soak:
    """Keep a bundle busy, and say what happened."""
    made, luck = Soak(), random.Random(seed)
    usual = sensors.sensors
    load.every_sensor = lambda: [*usual(), Faulty(luck)]
    models = Models({NAME: path})
    models.load(NAME)
    with elastiq.open(path) as bundle:
        samples, table = bundle.samples(), bundle.table
        usual_run = table.of(bundle.manifest.points[-1], 0.0).p50
    ended = threading.Event()
    waiting: list[list[Future[Answer]]] = [[] for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        busy = [
            pool.submit(_client, models, samples, usual_run, made, mine, seed + place, ended)
            for place, mine in enumerate(waiting)
        ]
        busy.append(pool.submit(_updates, models, made, seed, ended))
        try:
            _watch(made, seconds)
        finally:
            ended.set()
            for one in busy:
                one.result()
            left = wait([future for mine in waiting for future in mine], PATIENCE).not_done
            models.close()
            load.every_sensor = usual
    made.counts["lost"] = len(left)
    if made.counts["sent"] != sum(made.counts[n] for n in ENDS):
        made.wrong.append(f"not every request came to an end: {dict(made.counts)}")
    return made


ENDS = ("answered", "DeadlineMissed", "CancelledError", "QueueFull")


def _client(
    models: Models,
    samples: Samples,
    usual: float,
    made: Soak,
    mine: list[Future[Answer]],
    seed: int,
    ended: threading.Event,
) -> None:
    luck = random.Random(seed)
    points = list(samples.outputs)
    while not ended.is_set():
        pause = usual * 10 ** luck.uniform(-0.5, 1.5)  # of a spell
        for _ in range(luck.randint(1, 200)):
            if ended.wait(luck.expovariate(1 / pause)):
                break
            wishes = Wishes(
                deadline=luck.choice([None, 0.0, usual, 3 * usual, 20 * usual]),
                point=luck.choice([None] * 8 + points),
                least_score=luck.choice([0.0] * 4 + [0.01]),
            )
            sample = luck.randrange(len(samples))
            made.count("sent")
            try:
                _, future = models.ask(NAME, "", samples.input(sample), wishes)
            except QueueFull:
                made.count("QueueFull")
                continue
            ends: list[int] = []
            future.add_done_callback(
                lambda done, sample=sample, ends=ends: made.settled(done, sample, samples, ends)
            )
            if luck.random() < 0.05:
                future.cancel()
            mine.append(future)
        mine[:] = [future for future in mine if not future.done()]


def _updates(models: Models, made: Soak, seed: int, ended: threading.Event) -> None:
    luck = random.Random(seed)
    while not ended.wait(luck.expovariate(1 / UPDATE_EVERY)):
        models.load(NAME)
        made.count("updates")


def _watch(made: Soak, seconds: float) -> None:
    """Look at what the process holds, until the time is over."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(min(seconds / 20, 10.0, seconds - passed))
        if time.monotonic() - began >= WARM * seconds:
            gc.collect()
            made.sizes.append(_size())


def _size() -> tuple[float, int, int]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threading.active_count(), files


def grown(made: Soak) -> tuple[float, int, int]:
    """By how much each size was larger in the last half of the time than in the first, typically.

    Medians, because an update holds two bundles for a moment.
    """
    half = len(made.sizes) // 2
    before, after = (np.median(part, axis=0) for part in (made.sizes[:half], made.sizes[half:]))
    megabytes, threads, files = (after - before).tolist()
    return float(megabytes), round(threads), round(files)


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(bundle: Path, minutes: float, seed: int) -> None:
    made = soak(bundle, 60 * minutes, seed)
    megabytes, threads, files = grown(made)
    told = ", ".join(f"{name} {count}" for name, count in sorted(made.counts.items()))
    click.echo(told)
    click.echo(f"grown by {megabytes:.1f} MB, {threads} threads, {files} files")
    for words, count in Counter(made.wrong).most_common(10):
        click.echo(f"WRONG {count} times: {words}")
    flat = megabytes < GROWTH_MB and threads < GROWTH_THREADS and files < GROWTH_FILES
    sys.exit(0 if flat and not made.wrong and not made.counts["lost"] else 1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.soak")
