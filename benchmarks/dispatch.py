"""The dispatcher beside every fixed engine, SuperServe's policy, and a bound that none can pass.

    python -m benchmarks dispatch

The bundle of the trained Perceiver, each of whose points is there for one request and for up to
four that wait. Requests have twice the p50 of the largest engine for one. Loads are multiples of
what that engine can carry; arrivals are Poisson, gamma with gaps that deviate by 2, 4 and 8 times
their mean, a recorded hour of real requests, and a step to four times the rate in the middle third,
alone and beside programs that take half of the CPU. Where a `deadline` is told, requests have so
many times that p50, and many wait at once.

Some of these are sent for real, in turns, to all contenders; the grid is simulated from the latency
table, through the same queue and policies. Where a simulation is held against a real replay, it is
told what rehearsals right before and after it found: how much slower or faster than in the table
the device was by then, what cold caches and changes of points add, and threads that wake others.
The step to four times the rate at the end is simulated, too, and there a policy thinks in no time.
What it costs is told beside the point that is best from then on and was there before.

`wide` is the same Perceiver at a cost nearer to that of a deployed model: a run takes some
milliseconds and not half of one, so that what Python and cold caches add hardly counts, and a
sender that is a millisecond late is not a third of a deadline late. Its points take one request.

The bound is the most that anybody could earn who knew all arrivals beforehand, and by what law runs
take their time. In simulated scenes `utility` takes part a second time, told to answer 99 % in time
where it can. Effective accuracy is the share of all requests that were answered rightly in time.
`docs/replay.md` says more; `results/dispatch-scenes.json` has every contender in every scene.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import elastiq
from benchmarks.harness import RESULTS, Figure, at_least, at_most, store
from compiler import config, pipeline
from compiler.passes import bundle as write
from compiler.passes.profile import levels, profile
from compiler.plan import plan
from compiler.progress import Progress
from compiler.store import Store
from elastiq import contest
from elastiq.bundle import Bundle
from elastiq.contest import Contest
from elastiq.hog import Hog
from elastiq.outcomes import IN_TIME, Outcome, Report
from elastiq.policies import policy
from elastiq.rehearsal import Beside, mean, rehearse
from elastiq.simulation import BESIDE, Scene, simulate
from elastiq.traffic import Traffic

REQUESTS = 2000  # of a simulated scene
SECONDS = 3.0  # of a real one
WIDE_SECONDS = 6.0
DEADLINE = 2.0
LOADS = (0.5, 1.0, 2.0, 4.0)
SPREADS = (2.0, 4.0, 8.0)
TRACE = Path(__file__).parent / "traces" / "azure-llm-2023-conv.csv"
HOG = 0.5
OURS = "utility"
NAMES = (OURS, "slackfit", "deadline")
SURE = 0.99  # of attainment: what counts as held
PROMPT = f"{OURS}:in_time={SURE:g}"
STEP_AT, STEP_TIMES = 60, 4  # requests before a step, and how much more come after it


@dataclass(frozen=True)
class Kind:
    """One kind of traffic, at a multiple of the largest engine's capacity."""

    name: str
    load: float
    cv: float = 1.0
    hog: float = 0.0
    deadline: float = DEADLINE  # in times the p50 of the largest engine

    def __str__(self) -> str:
        spread = f" of CV {self.cv:g}" if self.name == "gamma" else ""
        hog = f", others take {self.hog:.0%}" if self.hog else ""
        late = f", deadline {self.deadline:g}x" if self.deadline != DEADLINE else ""
        return f"{self.name}{spread} at {self.load:g}{late}{hog}"

    def traffic(self, bundle: Bundle, seconds: float | None = None) -> Traffic:
        costliest = bundle.table.of(bundle.manifest.points[-1], load=0.0)
        rate = self.load / costliest.mean
        return Traffic(
            self.name,
            rate,
            self.deadline * costliest.p50,
            seconds or REQUESTS / rate,
            hog=Hog(((0.0, self.hog),)),
            shape={"cv": self.cv} if self.name == "gamma" else {},
            recording=TRACE if self.name == "trace" else None,
        )


LONG = tuple(
    Kind(name, load, cv, deadline=deadline)
    for deadline in (12.0, 48.0)
    for load in (2.0, 4.0)
    for name, cv in (("poisson", 1.0), ("gamma", 4.0), ("trace", 1.0), ("step", 1.0))
)
GRID = (
    LONG
    + tuple(
        Kind(name, load, cv, hog)
        for hog in (0.0, HOG)
        for load in LOADS
        for name, cv in (("poisson", 1.0), *(("gamma", cv) for cv in SPREADS), ("trace", 1.0))
    )
    + tuple(Kind("step", load, hog=hog) for hog in (0.0, HOG) for load in (1.0, 2.0))
)
REAL = (
    Kind("poisson", 0.5),
    Kind("poisson", 1.0),
    Kind("poisson", 2.0),
    Kind("gamma", 1.0, 4.0),
    Kind("trace", 1.0),
    Kind("step", 1.0),
    Kind("step", 1.0, hog=HOG),
    Kind("trace", 1.0, hog=HOG),
    Kind("poisson", 3.0, deadline=12.0),
    Kind("trace", 2.0, deadline=12.0),
)
SMALL = {"model": "zoo.perceiver:model", "batches": (1, 4)}
WIDE = {"model": "benchmarks.wide:model", "backends": ("onnxruntime",), "precisions": ("fp32",)}


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path, wide = Path(folder) / "perceiver.elastiq", Path(folder) / "wide.elastiq"
        build(wide, WIDE)
        large = Sent.of(wide, WIDE_SECONDS)
        build(path, SMALL)
        small = Sent.of(path, SECONDS)
        steps = []
        for title, engines in (("wide, step", wide), ("step", path)):
            with elastiq.open(engines) as bundle:
                steps += _step(title, bundle)
        with ProcessPoolExecutor() as pool:
            play = partial(simulated, path, beside=BESIDE)
            grid = dict(zip(GRID, pool.map(play, GRID), strict=True))
    _keep(large, small, grid)
    return [*large.figures("wide"), *small.figures(), *_simulated(grid), *steps]


def build(path: Path, settings: dict[str, Any]) -> None:
    """The bundle, with a table that was measured just now and not some day in the past."""
    flags = settings | {"output": str(path)}
    planned = plan(config.read(None, flags))
    with Progress(planned.tasks) as progress:
        built = pipeline.build(planned, store(), progress, until="profile")
        assert built.choices is not None
        kept = {key for choice in built.choices.values() for key in choice.candidate.keys}
        engines = [engine for engine in built.engines if engine.key in kept]
        at, seconds = levels(planned.config.loads, ()), planned.config.profile_seconds
        new = Store(path.parent / "store")
        table = profile(engines, at, seconds, planned.threads, new, progress)
    write.bundle(planned, built.verified, built.choices, table, built.layers)


@dataclass(frozen=True)
class Sent:
    """Contests that were held for real, and what a simulation makes of the same."""

    real: dict[Kind, Contest]
    same: dict[Kind, Contest]

    @classmethod
    def of(cls, path: Path, seconds: float) -> Sent:
        real, same = {}, {}
        for kind in REAL:
            with elastiq.open(path) as bundle:
                before = rehearse(bundle)
                real[kind] = contest.real(bundle, NAMES, kind.traffic(bundle, seconds))
                beside = mean([before, rehearse(bundle)])
            same[kind] = simulated(path, kind, beside, seconds)
        return cls(real, same)

    def figures(self, title: str = "real") -> list[Figure]:
        return [figure for kind in self.real for figure in self._figures(f"{title}, {kind}", kind)]

    def _figures(self, name: str, kind: Kind) -> list[Figure]:
        found, table = self.real[kind], self.same[kind]
        ours = found.of(OURS)
        apart = {
            r.name: 100 * abs(r.attainment - table.of(r.name).attainment) for r in found.reports
        }
        figures = [
            Figure(f"{name}: effective accuracy", 100 * ours.effective_accuracy, "%"),
            Figure(f"{name}: answered in time", 100 * ours.attainment, "%"),
            Figure(f"{name}: share of the estimated bound", share(found), ""),
            at_least(f"{name}: ahead of slackfit by", ahead(found, "slackfit"), 0.0, "points"),
            Figure(f"{name}: ahead of the best fixed by", ahead(found), "points"),
            at_most(f"{name}: simulated, answers in time differ by", apart[OURS], 5.0, "points"),
            Figure(f"{name}: the same, worst contender", max(apart.values()), "points"),
            Figure(f"{name}: the sender was late by (p99)", 1000 * ours.sender_p99, "ms"),
        ]
        if kind.name == "poisson":
            shifts = 100 * ours.shifts / ours.requests
            figures.append(at_most(f"{name}: shifts in a hundred requests", shifts, 10.0, ""))
        return figures


def simulated(path: Path, kind: Kind, beside: Beside, seconds: float | None = None) -> Contest:
    with elastiq.open(path) as bundle:
        return contest.simulated(bundle, (*NAMES, PROMPT), kind.traffic(bundle, seconds), beside)


def _simulated(grid: dict[Kind, Contest]) -> list[Figure]:
    figures = []
    for kind, found in grid.items():
        name = f"simulated, {kind}"
        figures += [
            at_least(f"{name}: share of the bound", share(found), 0.97, ""),
            at_least(f"{name}: ahead of slackfit by", ahead(found, "slackfit"), 0.0, "points"),
            Figure(f"{name}: ahead of the best fixed by", ahead(found), "points"),
        ]
        surest = max(fixed(found), key=lambda report: report.attainment)
        if surest.attainment >= SURE:
            held, told = 100 * found.of(OURS).attainment, 100 * found.of(PROMPT).attainment
            name = f"{name}: in time, where {surest.name} holds {100 * SURE:g} %"
            figures += [
                at_least(name, held, 100 * SURE, "%"),
                at_least(f"{name}, told to hold it", told, 100 * SURE, "%"),
            ]
    return figures


def share(found: Contest) -> float:
    return found.of(OURS).effective_accuracy / found.bound.effective_accuracy


def ahead(found: Contest, name: str | None = None) -> float:
    """By how many points ours is ahead of another, or of the best fixed point in hindsight."""
    others = [found.of(name)] if name else fixed(found)
    best = max(report.effective_accuracy for report in others)
    return 100 * (found.of(OURS).effective_accuracy - best)


def fixed(found: Contest) -> list[Report]:
    """Those who stay at a point."""
    return [report for report in found.reports if report.name not in (*NAMES, PROMPT)]


def _step(title: str, bundle: Bundle) -> list[Figure]:
    """Even arrivals at half of the capacity, and from one moment on four times as many: what that
    costs beside the point that is best from then on, and was there before."""
    title = f"{title} to {STEP_TIMES}x"
    points, table = bundle.manifest.points, bundle.table
    costliest = table.of(points[-1], load=0.0)
    gap = costliest.mean / 0.5
    calm = np.arange(STEP_AT) * gap
    busy = calm[-1] + np.arange(1, 20 * STEP_TIMES) * gap / STEP_TIMES
    moments = np.concatenate([calm, busy])
    luck = np.tile([0.5, 0.5], (len(moments), 1))
    made = Scene(moments, DEADLINE * costliest.p50, Hog(), luck)
    after = simulate(points, table, policy(OURS), made)[STEP_AT:]
    staying = [
        simulate(points, table, policy("fixed", point=point.name), made)[STEP_AT:]
        for point in points
    ]
    best = max(staying, key=_right)
    rare = gap / STEP_TIMES
    lasting = {point.name for point in points if table.of(point, 0.0).p50 / point.takes < rare}
    first = next(n for n, outcome in enumerate(after, 1) if outcome.point in lasting)
    lost, missed = _right(best) - _right(after), _missed(after)
    return [
        at_most(f"{title}: right answers behind the best fixed", lost, 3.0, ""),
        at_most(f"{title}: requests until a point that keeps up", first, 3.0, ""),
        at_most(f"{title}: requests not answered in time", missed, 3.0, ""),
        Figure(f"{title}: the same, beyond the best fixed's", missed - _missed(best), ""),
    ]


def _right(outcomes: list[Outcome]) -> float:
    return sum(outcome.score for outcome in outcomes if outcome.state == IN_TIME)


def _missed(outcomes: list[Outcome]) -> int:
    return sum(outcome.state != IN_TIME for outcome in outcomes)


def _keep(wide: Sent, real: Sent, grid: dict[Kind, Contest]) -> None:
    """Every contender in every scene, for who wants to know more than the page tells."""
    rows = [{"wide": True, **_row(kind, found)} for kind, found in wide.real.items()]
    rows += [_row(kind, found) for kind, found in real.real.items()]
    rows += [_row(kind, found) for kind, found in grid.items()]
    (RESULTS / "dispatch-scenes.json").write_text(json.dumps(rows, indent=0) + "\n")


def _row(kind: Kind, found: Contest) -> dict[str, Any]:
    return {
        **asdict(kind),
        "simulated": found.simulated,
        "bound": [round(value, 4) for value in found.bound],
        "effective, in time, shifts": {
            report.name: [
                round(report.effective_accuracy, 4),
                round(report.attainment, 4),
                report.shifts,
            ]
            for report in found.reports
        },
    }
