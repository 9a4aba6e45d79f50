"""Every policy and every fixed point of a bundle against each other, for real or simulated."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from elastiq import bound, policies
from elastiq.bound import Bound
from elastiq.bundle import Bundle
from elastiq.load import LoadMonitor
from elastiq.outcomes import Outcome, Report, summarize
from elastiq.policies import policy
from elastiq.rehearsal import Beside
from elastiq.replay import SLICE, picked, send
from elastiq.simulation import BESIDE, scene, simulate
from elastiq.traffic import Traffic


@dataclass(frozen=True)
class Contest:
    """What became of all who took part, and the bound that none passes but by luck."""

    reports: tuple[Report, ...]
    bound: Bound
    beside: Beside | None = None  # what a simulation took runs to take; None: it was for real

    @property
    def simulated(self) -> bool:
        return self.beside is not None

    def of(self, name: str) -> Report:
        return next(report for report in self.reports if report.name == name)


def own_policies() -> list[str]:
    """The policies that choose by themselves."""
    return [name for name in policies.names() if name != "fixed"]


def simulated(
    bundle: Bundle, names: Iterable[str], traffic: Traffic, beside: Beside = BESIDE
) -> Contest:
    """By the bundle's latency table, and by what runs take beside it."""
    points, table = bundle.manifest.points, bundle.table
    made = scene(traffic.moments(), traffic.deadline, traffic.hog, traffic.seed, beside)
    reports = [
        summarize(name, simulate(points, table, policy(kind, **options), made))
        for name, (kind, options) in _contenders(bundle, names).items()
    ]
    return Contest(tuple(reports), bound.bound(points, table, made), beside)


def real(bundle: Bundle, names: Iterable[str], traffic: Traffic) -> Contest:
    """On this device, in turns, after a first slice that does not count. One watches its load for
    all, for to watch takes time as well."""
    moments, samples = traffic.moments(), bundle.samples()
    with ExitStack() as stack:
        load = stack.enter_context(LoadMonitor())
        workers = {
            name: stack.enter_context(bundle.serve(kind, load=load, **options))
            for name, (kind, options) in _contenders(bundle, names).items()
        }
        bundle.settle()  # no packing while others are measured
        play = partial(
            send,
            workers,
            samples=samples,
            deadline=traffic.deadline,
            hog=traffic.hog,
            seed=traffic.seed,
            mixes=bundle.driver.MIXES,
        )
        if len(first := moments[moments < SLICE]):
            play(first)  # to meet the traffic, which takes a policy's thoughts once and no more
        outcomes = play(moments)
    points = bundle.manifest.points
    picks = picked(samples, len(moments), traffic.seed)
    highest = bound.seen(
        moments,
        traffic.deadline,
        [outcomes[point.name] for point in points],
        [float(samples.scores[point.name][picks].mean()) for point in points],
        [point.takes for point in points],
    )
    return Contest(_reports(outcomes), highest)


def _contenders(bundle: Bundle, names: Iterable[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """A policy and its options for each name: the policies, and each point alone."""
    fixed = {point.name: ("fixed", {"point": point.name}) for point in bundle.manifest.points}
    return {**{name: (name, {}) for name in names}, **fixed}


def _reports(outcomes: dict[str, list[Outcome]]) -> tuple[Report, ...]:
    return tuple(summarize(name, seen) for name, seen in outcomes.items())
