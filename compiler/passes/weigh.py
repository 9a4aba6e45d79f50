"""Weigh: what each engine takes to be loaded, and of memory, alone in a fresh process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from compiler.bench import weights
from compiler.passes.profile import Runnable
from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq import digest
from elastiq.codec import decode
from elastiq.errors import ElastiqError
from elastiq.latency import Footprint

REVISION = 2  # of what this pass finds of the same engines
FOUND = "footprint.json"


def weigh(
    engines: Sequence[Runnable],
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> dict[str, Footprint]:
    """The footprint of each engine, by key."""
    found = {}
    circumstances = workshop.circumstances
    with progress.task("weigh") as task:
        task.cached = True
        for engine in {engine.key: engine for engine in engines}.values():
            inputs = {
                "engine": engine.identity,
                "threads": threads,
                "circumstances": circumstances,
                "revision": REVISION,
            }
            make = partial(_weigh, engine, threads, workshop)
            try:
                entry, there = store.produce("weigh", inputs, make)
            except ElastiqError as e:  # a table without it is worth as much to a dispatcher
                task.note = str(e)
                continue
            task.cached = task.cached and there
            told = digest.parse((entry / FOUND).read_bytes())
            found[engine.key] = decode(Footprint, told, FOUND)
    return found


def _weigh(engine: Runnable, threads: int, workshop: Workshop, folder: Path) -> None:
    (found,) = workshop.run(weights, (engine,), threads)
    (folder / FOUND).write_text(json.dumps(found))
