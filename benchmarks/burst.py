"""The dispatcher under a burst that its largest engine cannot carry, beside every fixed engine.

    python -m benchmarks burst

The bundle of the trained Perceiver, real engines, real time; each contender gets the same traffic
in turns. The deadline is twice the largest engine's p50. In a `step`, requests come at half of what
that engine can carry, and at twice of it in the middle third; `poisson` and `bursty` requests come
at that multiple of it all the time, where the best fixed engine, known only afterwards, is hard to
beat.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import elastiq
from benchmarks.harness import Figure, at_least, store
from compiler import config, pipeline
from compiler.commands.replay import Traffic, send
from compiler.plan import plan
from compiler.progress import Progress
from elastiq.bundle import Bundle

SECONDS = 6.0
DEADLINE = 2.0


@dataclass(frozen=True)
class Scene:
    """What is sent, at which multiple of the largest engine's capacity, and beside which load."""

    kind: str
    rate: float
    hog: float = 0.0
    is_burst: bool = False  # that of the goal
    deadline: float = DEADLINE

    def __str__(self) -> str:
        hog = f", others take {self.hog:.0%}" if self.hog else ""
        return f"{self.kind} at {self.rate:g}{hog}"


SCENES = (
    Scene("step", 1.0, is_burst=True),
    Scene("step", 1.0, hog=0.5),
    Scene("poisson", 2.0),
    Scene("bursty", 1.0),
    Scene("bursty", 2.0),
)


def run() -> list[Figure]:
    with built("zoo.perceiver:model") as bundle:
        return [figure for scene in SCENES for figure in figures(bundle, scene)]


@contextmanager
def built(model: str) -> Iterator[Bundle]:
    """The bundle of a model, opened."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {"model": model, "output": str(Path(folder) / "model.elastiq")}
        planned = plan(config.read(None, flags))
        with Progress(planned.tasks) as progress:
            made = pipeline.build(planned, store(), progress)
        assert made.output is not None
        with elastiq.open(made.output) as bundle:
            yield bundle


def figures(bundle: Bundle, scene: Scene) -> list[Figure]:
    costliest = bundle.table.of(bundle.manifest.points[-1], load=0.0)
    rate, deadline = scene.rate / costliest.mean, scene.deadline * costliest.p50
    traffic = Traffic(scene.kind, rate, deadline, SECONDS, scene.hog, seed=0)
    ours, *fixed = send(bundle, "utility", traffic)
    best = max(fixed, key=lambda report: report.effective_accuracy)
    gain = 100 * (ours.effective_accuracy - best.effective_accuracy)
    ahead = f"{scene}: the dispatcher is ahead by"
    return [
        Figure(f"{scene}: effective accuracy, dispatcher", 100 * ours.effective_accuracy, "%"),
        Figure(f"{scene}: the best fixed, {best.name}", 100 * best.effective_accuracy, "%"),
        at_least(ahead, gain, 0.0, "points") if scene.is_burst else Figure(ahead, gain, "points"),
        Figure(f"{scene}: answered in time", 100 * ours.attainment, "%"),
        Figure(f"{scene}: shifts in a hundred requests", 100 * ours.shifts / ours.requests, ""),
        Figure(f"{scene}: the sender was late by (p99)", 1000 * ours.sender_p99, "ms"),
    ]
