"""What every benchmark shares: figures with goals, the table, and the file they are kept in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from compiler.store import Store
from elastiq import device

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("elastiq", "torch", "onnx")  # beside those that engines run on


@dataclass(frozen=True)
class Figure:
    """One measured value. Without a goal it is there to be read."""

    name: str
    value: float
    unit: str
    goal: str = ""
    holds: bool | None = None


def at_most(name: str, value: float, limit: float, unit: str) -> Figure:
    return Figure(name, value, unit, f"<= {limit:g}", bool(value <= limit))


def at_least(name: str, value: float, limit: float, unit: str) -> Figure:
    return Figure(name, value, unit, f">= {limit:g}", bool(value >= limit))


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int, slow: Container[str] = ()
) -> dict[str, float]:
    """The median seconds of each, run in turns so that the machine's drift hits all alike.

    Those that are `slow` take one turn only, in the middle.
    """
    for name, run in runs.items():
        if name not in slow:
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name, run in runs.items():
            if name in slow and turn != rounds // 2:
                continue
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def publish(name: str, figures: list[Figure]) -> bool:
    """Print the figures and keep them as JSON; whether every goal holds."""
    circumstances = (
        device.circumstances() | device.versions(PACKAGES) | {"load average": _load_average()}
    )
    print(f"\n{name}\n" + "  ".join(f"{key} {value}" for key, value in circumstances.items()))
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        verdict = {None: "", True: "holds", False: "FAILS"}[figure.holds]
        value = f"{figure.value:10.4g} {figure.unit}"
        print(f"  {figure.name:<{width}} {value:<18} {figure.goal:<10} {verdict}".rstrip())
    RESULTS.mkdir(exist_ok=True)
    body = {"circumstances": circumstances, "figures": [asdict(figure) for figure in figures]}
    (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
    return all(figure.holds is not False for figure in figures)


def store() -> Store:
    """The store that benchmarks build in: the user's own, so that nothing is made twice."""
    return Store.default()


def _load_average() -> str:
    return f"{os.getloadavg()[0]:.2f}"
