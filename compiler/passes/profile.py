"""Profile: what each engine costs on this device, idle and while other programs take a share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq.burner import Burner
from elastiq.codec import decode, plain
from elastiq.latency import LatencyTable, Row
from elastiq.measure import measure
from elastiq.protocols import Engine
from elastiq.records import TensorSpec
from elastiq.sensors import cpu

REVISION = 3  # of what this pass makes from the same inputs
ROWS = "rows.json"


class Runnable(Protocol):
    """An engine that can be loaded here, and what it takes."""

    @property
    def key(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    def load(self, threads: int) -> Engine: ...


def profile(
    engines: Sequence[Runnable],
    loads: tuple[float, ...],
    seconds: float,
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> LatencyTable:
    """The latency table of these engines on the device, one level of load after another."""
    rows: list[Row] = []
    engines = tuple({engine.key: engine for engine in engines}.values())
    circumstances = workshop.circumstances | {"threads": str(threads)}
    for load in loads:
        with progress.task(f"profile at {load:.0%} load") as task:
            inputs = {
                "engines": sorted(engine.identity for engine in engines),
                "revision": REVISION,
                "load": load,
                "seconds": seconds,
                "circumstances": circumstances,
            }
            entry, task.cached = store.produce(
                "profile",
                inputs,
                partial(_measured, workshop, engines, load, seconds, threads),
            )
        found = json.loads((entry / ROWS).read_text())
        rows.extend(decode(Row, row, ROWS) for row in found)
    return LatencyTable(workshop.device.name, True, circumstances, tuple(rows))


def _measured(
    workshop: Workshop,
    engines: Sequence[Runnable],
    load: float,
    seconds: float,
    threads: int,
    folder: Path,
) -> None:
    rows = workshop.run(on_device, engines, load, seconds, threads)
    (folder / ROWS).write_text(json.dumps(rows))


def on_device(
    engines: Sequence[Runnable], load: float, seconds: float, threads: int
) -> list[dict[str, Any]]:
    """The rows of these engines at one level of load, measured in this process."""
    with ExitStack() as stack:
        runs = {}
        for built in engines:
            engine = built.load(threads)
            stack.callback(engine.close)
            feed = example(built.inputs)
            runs[built.key] = lambda engine=engine, feed=feed: engine(feed)
        stack.enter_context(Burner(load))
        sensor = cpu.sensor()
        measured = measure(runs, seconds)
        seen = (sensor.read() or {}).get("others", load)
    # What the dispatcher's own sensor saw, not what was asked for: the machine had other work
    # too, and a busy kernel gives a burner less than it wants.
    return [plain(Row(key, round(seen, 2), latency)) for key, latency in measured.items()]


def example(specs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
    """Inputs of a signature: what flows does not change what a static engine costs."""
    generator = np.random.default_rng(0)
    return {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }
