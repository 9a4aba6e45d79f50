"""The whole product in one page: passes are functions over frozen records, data goes one way.

model ─trace▶ graphs ─quantize▶ INT8 graphs ─compile▶ engines ─verify▶ ─profile▶ table ─bundle▶

INT8 engines that verify finds over the accuracy budget give layers back until they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calibration.data import Batch
from compiler.passes.budget import LayersOf, Spending, keep_to_budget, look
from compiler.passes.bundle import bundle
from compiler.passes.compile import BuiltEngine, compile
from compiler.passes.profile import profile
from compiler.passes.quantize import Method, quantize, read_batches
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
    layers: tuple[LayersOf, ...] = ()


def build(plan: Plan, store: Store, progress: Progress, until: str = "bundle") -> Build:
    """Run the passes in order, up to and with `until`."""
    config = plan.config
    graphs = trace(plan.model, plan.points, store, progress)
    if until == "trace":
        return Build(graphs)

    int8: tuple[Graph, ...] = ()
    batches: list[Batch] = []
    if "int8" in plan.precisions:
        batches = read_batches(plan.model, config.calibration, config.calibration_samples)
        int8 = quantize(plan.model, graphs, batches, _method(plan), store, progress)
        graphs = (*(graphs if "fp32" in plan.precisions else ()), *int8)
    if until == "quantize":
        return Build(graphs)

    engines = compile(graphs, plan.backends, store, progress)
    if until == "compile":
        return Build(graphs, engines)

    verified = verify(plan.model, engines, plan.threads, store, progress)
    spending = Spending(config.accuracy_drop, config.budget_seconds, plan.threads)
    verified = keep_to_budget(plan.model, verified, batches, spending, store, progress)
    engines = tuple(engine for v in verified for engine in v.variant.engines.values())
    layers = look(plan.model, int8, verified, batches, config.sensitivity, store, progress)
    if until == "verify":
        return Build(graphs, engines, verified, layers=layers)

    table = profile(engines, config.loads, config.profile_seconds, plan.threads, store, progress)
    if until == "profile":
        return Build(graphs, engines, verified, table, layers=layers)

    choices = choose([v.candidate for v in verified], table, config.accuracy_drop)
    with progress.task(f"bundle {plan.output}"):
        output = bundle(plan, verified, choices, table, layers)
    return Build(graphs, engines, verified, table, choices, output, layers)


def _method(plan: Plan) -> Method:
    config = plan.config
    return Method(plan.recipe, config.ranges, config.smooth, config.calibration_samples)
