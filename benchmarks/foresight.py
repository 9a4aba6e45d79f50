"""What of the clairvoyant's bound is foresight, which nobody has, and what more thought could gain.

    python -m benchmarks foresight

Simulated scenes of the dispatcher's benchmark. Beside `utility` and the bound stands a planner that
knows by what law requests arrive, and tries out every choice in a hundred random futures; it takes
a second for some ten choices (`benchmarks/planner.py`). `utility` knows only what it has heard, and
has ten microseconds. Runs take what the latency table says, and nothing beside them.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import elastiq
from benchmarks.dispatch import OURS, SMALL, WIDE, Kind, build
from benchmarks.harness import Figure
from benchmarks.planner import Law, Planner
from elastiq import bound
from elastiq.dispatcher import Dispatcher
from elastiq.outcomes import summarize
from elastiq.policies import policy
from elastiq.rehearsal import Beside
from elastiq.simulation import scene, simulate

REQUESTS = 1500
SCENES = (
    Kind("poisson", 1.0),
    Kind("poisson", 2.0),
    Kind("poisson", 4.0),
    Kind("gamma", 2.0, 2.0),
    Kind("gamma", 1.0, 4.0),
    Kind("gamma", 2.0, 8.0),
)


class Earned(NamedTuple):
    """Shares of all requests that were answered rightly in time."""

    ours: float
    planner: float
    bound: float


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        path, wide = Path(folder) / "perceiver.elastiq", Path(folder) / "wide.elastiq"
        build(wide, WIDE)
        build(path, SMALL)
        return [
            figure
            for title, bundle in (("wide", wide), ("batches of up to four", path))
            for kind, earned in zip(SCENES, pool.map(partial(play, bundle), SCENES), strict=True)
            for figure in _figures(f"{title}, {kind}", earned)
        ]


def play(path: Path, kind: Kind) -> Earned:
    """One scene, for each of the three."""
    with elastiq.open(path) as bundle:
        points, table = bundle.manifest.points, bundle.table
        traffic = kind.traffic(bundle, REQUESTS / kind.traffic(bundle).rate)
        moments = traffic.moments()
        made = scene(moments, traffic.deadline, traffic.hog, traffic.seed, Beside(after=0.0))
        options = Dispatcher(points, table, policy(OURS), float).decide().options
        planner = Planner(options, traffic.deadline, Law(1.0 / traffic.rate, kind.cv))
        ours = summarize(OURS, simulate(points, table, policy(OURS), made))
        return Earned(
            ours.effective_accuracy,
            planner.earned(moments, made.luck[:, 0]),
            bound.bound(points, table, made).effective_accuracy,
        )


def _figures(name: str, earned: Earned) -> list[Figure]:
    return [
        Figure(f"{name}: effective accuracy", 100 * earned.ours, "%"),
        Figure(f"{name}: share of what the planner earns", earned.ours / earned.planner, ""),
        Figure(f"{name}: the planner's share of the bound", earned.planner / earned.bound, ""),
    ]
