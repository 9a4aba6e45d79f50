"""Tune: backends that write kernels themselves find out which are fastest on this device.

Each task is an entry in the store, by toolchain, settings, device and threads: a build that is
killed or out of time goes on in the midst of it, and points and models that need the same share it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from compiler.children import Children, Died, children
from compiler.progress import Progress
from compiler.store import Store
from compiler.terms import Terms
from elastiq import device
from elastiq.codec import plain
from elastiq.records import Graph
from targets.backends import Tuner, tuner


class OutOfTime(Exception):
    """What is not done by now is left to the next build."""


def tune(
    graphs: tuple[Graph, ...],
    backends: tuple[str, ...],
    terms: Terms,
    minutes: float,
    threads: int,
    store: Store,
    progress: Progress,
) -> Terms:
    """The terms, with what was found of all tasks that are done by then."""
    end = time.monotonic() + 60 * minutes
    settings = dict(terms.settings)
    for chosen in filter(None, map(tuner, backends)):
        own = terms.of(chosen.name)
        workers = children(chosen.name, terms.memory)
        done = {}
        for task in _tasks(chosen, graphs, terms, workers, progress):
            inputs = {
                "task": task,
                "toolchain": chosen.toolchain(),
                "settings": plain(own),
                "device": device.this().name,
                "threads": threads,
            }
            make = partial(_tune, chosen, task, terms, threads, workers, end)
            with progress.task(f"tune {task} by {chosen.name}") as step:
                try:
                    done[task], step.cached = store.produce("tuning", inputs, make, resumes=True)
                except (Died, OutOfTime) as e:
                    step.note = str(e)
        settings[chosen.name] = chosen.tuned(own, done)
    return replace(terms, settings=settings)


def _tasks(
    chosen: Tuner, graphs: tuple[Graph, ...], terms: Terms, workers: Children, progress: Progress
) -> tuple[str, ...]:
    with progress.task(f"what {chosen.name} can tune") as step:
        try:
            found: tuple[str, ...] = workers.call(
                chosen.tasks, graphs, terms.of(chosen.name), seconds=terms.seconds
            )
        except Died as e:  # compiling tells why, graph by graph
            found, step.note = (), f"nothing: {e}"
    return found


def _tune(
    chosen: Tuner,
    task: str,
    terms: Terms,
    threads: int,
    workers: Children,
    end: float,
    folder: Path,
) -> None:
    done = False
    while not done:
        if time.monotonic() > end:
            raise OutOfTime("the time for tuning is over; the next build with --tune goes on")
        own = terms.of(chosen.name)
        done = workers.call(chosen.tune, task, own, threads, folder, seconds=terms.seconds)
