"""The whole product in one page: passes are functions over frozen records, data goes one way.

model ─trace▶ graphs ─quantize▶ INT8 graphs ─compile▶ engines ─verify▶ ─profile▶ table ─bundle▶

INT8 engines that verify finds over the accuracy budget give layers back until they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.passes.budget import Spending, keep_to_budget
from compiler.passes.bundle import bundle
from compiler.passes.compile import BuiltEngine, Failure, compile
from compiler.passes.profile import profile
from compiler.passes.quantize import quantize
from compiler.passes.trace import trace
from compiler.passes.verify import Verified, verify
from compiler.plan import Plan
from compiler.progress import Progress
from compiler.store import Store
from elastiq.latency import LatencyTable
from elastiq.records import Graph
from profiles.choice import Choice, choose

PASSES = ("trace", "quantize", "compile", "verify", "profile", "bundle")


@dataclass(frozen=True)
class Build:
    """What a build has made so far; a pass that did not run left its part empty."""

    graphs: tuple[Graph, ...] = ()
    engines: tuple[BuiltEngine, ...] = ()
    verified: tuple[Verified, ...] = ()
    table: LatencyTable | None = None
    choices: Mapping[str, Choice] | None = None
    output: Path | None = None
    failures: tuple[Failure, ...] = ()


def build(plan: Plan, store: Store, progress: Progress, until: str = "bundle") -> Build:
    """Run the passes in order, up to and with `until`."""
    graphs = trace(plan.model, plan.points, store, progress)
    if until == "trace":
        return Build(graphs)

    if "int8" in plan.precisions:
        config = plan.config
        int8 = quantize(
            plan.model, graphs, config.recipe, config.calibration_samples, store, progress
        )
        graphs = (*(graphs if "fp32" in plan.precisions else ()), *int8)
    if until == "quantize":
        return Build(graphs)

    compiled = compile(graphs, plan.backends, store, progress, plan.terms)
    engines, failures = compiled.engines, compiled.failures
    if until == "compile":
        return Build(graphs, engines, failures=failures)

    findings = verify(plan.model, engines, plan.threads, store, progress)
    verified, failures = findings.verified, (*failures, *findings.failures)
    spending = Spending(
        plan.config.accuracy_drop,
        plan.config.budget_seconds,
        plan.config.calibration_samples,
        plan.threads,
    )
    verified = keep_to_budget(plan.model, verified, spending, store, progress)
    engines = tuple(engine for v in verified for engine in v.variant.engines.values())
    if until == "verify":
        return Build(graphs, engines, verified, failures=failures)

    table = profile(
        engines, plan.config.loads, plan.config.profile_seconds, plan.threads, store, progress
    )
    if until == "profile":
        return Build(graphs, engines, verified, table, failures=failures)

    choices = choose([v.candidate for v in verified], table, plan.config.accuracy_drop)
    with progress.task(f"bundle {plan.output}"):
        output = bundle(plan, verified, choices, table)
    return Build(graphs, engines, verified, table, choices, output, failures)
