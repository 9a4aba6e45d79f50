"""The dispatcher under more load than its largest engine can carry, beside every fixed engine.

    python -m benchmarks burst

The bundle of the trained Perceiver, real engines, real time; each contender gets the same traffic
in turns. The deadline is twice the largest engine's p50, the rate twice its capacity.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import elastiq
from benchmarks.harness import Figure, at_least, store
from compiler import config, pipeline
from compiler.commands.replay import Traffic, send
from compiler.plan import plan
from compiler.progress import Progress
from elastiq.bundle import Bundle

SECONDS = 12.0
SCENES = (("poisson", 0.0), ("bursty", 0.0), ("step", 0.0), ("poisson", 0.5))
RATE, DEADLINE = 2.0, 2.0


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        flags = {"model": "zoo.perceiver:model", "output": str(Path(folder) / "perceiver.elastiq")}
        planned = plan(config.read(None, flags))
        with Progress(planned.tasks) as progress:
            built = pipeline.build(planned, store(), progress)
        assert built.output is not None
        with elastiq.open(built.output) as bundle:
            return [figure for kind, hog in SCENES for figure in _scene(bundle, kind, hog)]


def _scene(bundle: Bundle, kind: str, hog: float) -> list[Figure]:
    costliest = bundle.table.of(bundle.manifest.points[-1], load=0.0)
    traffic = Traffic(kind, RATE / costliest.mean, DEADLINE * costliest.p50, SECONDS, hog, seed=0)
    ours, *fixed = send(bundle, "deadline", traffic)
    best = max(fixed, key=lambda report: report.effective_accuracy)
    name = f"{kind}{f', {hog:.0%} taken by others' if hog else ''}"
    gain = 100 * (ours.effective_accuracy - best.effective_accuracy)
    return [
        Figure(f"{name}: effective accuracy, dispatcher", 100 * ours.effective_accuracy, "%"),
        Figure(f"{name}: the best fixed, {best.name}", 100 * best.effective_accuracy, "%"),
        at_least(f"{name}: the dispatcher is ahead by", gain, 0.0, "points"),
        Figure(f"{name}: answered in time", 100 * ours.attainment, "%"),
        Figure(f"{name}: shifts in a hundred requests", 100 * ours.shifts / ours.requests, ""),
        Figure(f"{name}: the sender was late by (p99)", 1000 * ours.sender_p99, "ms"),
    ]
