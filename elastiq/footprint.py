"""What engines take of a device's memory, measured in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import elastiq
from elastiq.errors import ElastiqError

ROLLUP = Path("/proc/self/smaps_rollup")


def measure(bundle: Path) -> dict[str, int]:
    """By how many bytes each point, in order, lets a fresh process grow that opens and runs it.

    PSS, which counts a page once however often it is mapped. The first brings the runtime along.
    """
    _child("prepare", bundle)  # what is made on first use is not the engines' own
    return dict(json.loads(_child("grow", bundle)))


def _child(task: str, bundle: Path) -> str:
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-m", __name__, task, str(bundle)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
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


def _pss() -> int:
    for line in ROLLUP.read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise ElastiqError(f"{ROLLUP} tells no PSS")


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        _prepare(Path(sys.argv[2]))
    else:
        print(json.dumps(_grow(Path(sys.argv[2]))))
