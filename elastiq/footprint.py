"""What engines take of a device's memory, and to be loaded, measured in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import elastiq
from elastiq import heap, plugins
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError
from elastiq.latency import Footprint
from elastiq.protocols import Runner, RunnerOptions
from elastiq.records import TensorSpec

RUNS = 2  # after which an engine has all that it needs
ROLLUP = Path("/proc/self/smaps_rollup")


def measure(bundle: Path) -> dict[str, int]:
    """By how many bytes each point, in order, lets a fresh process grow that opens and runs it.

    PSS, which counts a page once however often it is mapped. The first brings the runtime along.
    """
    _child("prepare", str(bundle))  # what is made on first use is not the engines' own
    return dict(json.loads(_child("grow", str(bundle))))


@dataclass(frozen=True)
class Place:
    """Where an engine lies, and what loads it."""

    runner: str
    folder: str
    weights: str
    inputs: tuple[TensorSpec, ...]
    threads: int


def alone(place: Place) -> Footprint:
    """What one engine takes in a process that has nothing but its runtime.

    The runtime comes with the engine: it is loaded, run and closed once before it counts.
    """
    return decode(Footprint, json.loads(_child("alone", json.dumps(plain(place)))), "a footprint")


def example(specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Inputs of a signature: what flows does not change what a static engine costs."""
    generator = np.random.default_rng(0)
    return {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }


def _child(task: str, about: str) -> str:
    path = os.pathsep.join(part for part in sys.path if part)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, task, about],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
    except OSError as e:
        raise ElastiqError(f"memory cannot be measured: {e}") from e
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ElastiqError(f"memory cannot be measured: {said[-1] if said else 'no word'}")
    return done.stdout


def _prepare(path: Path) -> None:
    with elastiq.open(path) as bundle:
        for point in bundle.manifest.points:
            bundle.load(point.name)
        bundle.settle()


def _grow(path: Path) -> dict[str, int]:
    added = {}
    with elastiq.open(path) as bundle:
        before = _pss()
        for point in bundle.manifest.points:
            first = next(iter(point.stages.values()))
            inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in first.inputs}
            for _ in range(2):
                bundle.execute(point.name, inputs)
            after = _pss()
            added[point.name], before = after - before, after
    return added


def _alone(place: Place) -> Footprint:
    _loaded(place)
    heap.trim()
    before = _pss() if ROLLUP.exists() else None
    kept: list[Any] = []
    seconds = _loaded(place, kept)
    heap.trim()
    return Footprint(seconds, None if before is None else max(0, _pss() - before))


def _loaded(place: Place, kept: list[Any] | None = None) -> float:
    """The seconds that loading takes. The engine is run, and then closed or kept."""
    runner: Runner = plugins.load("elastiq.runners", place.runner, "runner")
    options = RunnerOptions(Path(place.weights), place.threads)
    start = time.perf_counter()
    engine = runner.load(Path(place.folder), options)
    seconds = time.perf_counter() - start
    feed = example(place.inputs)
    for _ in range(RUNS):
        engine(feed)
    if kept is None:
        engine.close()
    else:
        kept.append(engine)
    return seconds


def _pss() -> int:
    for line in ROLLUP.read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise ElastiqError(f"{ROLLUP} tells no PSS")


if __name__ == "__main__":
    task, about = sys.argv[1:]
    if task == "prepare":
        _prepare(Path(about))
    elif task == "grow":
        print(json.dumps(_grow(Path(about))))
    else:
        print(json.dumps(plain(_alone(decode(Place, json.loads(about), "the place")))))
