"""The whole product in one page: passes are functions over frozen records, data goes one way.

model ─trace▶ graphs ─quantize▶ INT8 graphs ─compile▶ engines ─verify▶ ─profile▶ table ─bundle▶

INT8 engines that verify finds over the accuracy budget give layers back until they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.passes.budget import LayersOf, Spending, keep_to_budget, look
from compiler.passes.bundle import bundle
from compiler.passes.compile import BuiltEngine, Failure, compile
from compiler.passes.feed import Feeds
from compiler.passes.profile import levels, profile
from compiler.passes.quantize import Method, quantize, read_batches
from compiler.passes.roofline import roofline
from compiler.passes.screen import Screened, screen
from compiler.passes.trace import trace
from compiler.passes.unify import unify
from compiler.passes.verify import Verified, group, share, verify
from compiler.passes.weigh import weigh
from compiler.plan import Plan
from compiler.progress import Progress
from compiler.store import Store
from elastiq.latency import LatencyTable
from elastiq.records import Graph
from profiles.choice import Choice, choose, predict
from targets.backends import backend

REHEARSAL = "onnxruntime"  # runs the graphs of engines that cannot run here
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
    failures: tuple[Failure, ...] = ()
    aside: tuple[str, ...] = ()  # engines too slow to be chosen, in words


def build(plan: Plan, store: Store, progress: Progress, until: str = "bundle") -> Build:
    """Run the passes in order, up to and with `until`."""
    config = plan.config
    traced = trace(plan.model, plan.points, store, progress)
    if until == "trace":
        return Build(traced)

    graphs = traced if "fp32" in plan.precisions else ()
    int8: tuple[Graph, ...] = ()
    feeds = Feeds(plan.model, [])
    if "int8" in plan.precisions:
        samples = config.calibration_samples
        batches = read_batches(plan.model, config.calibration, samples)
        feeds = Feeds(plan.model, batches, samples)
        int8 = quantize(traced, feeds, _method(plan), store, progress)
        if any(backend(name).joins for name in plan.backends):
            int8 = unify(int8, store, progress)
        graphs = (*graphs, *int8)
    if "fp16" in plan.precisions:
        graphs = (*graphs, *(replace(g, precision="fp16") for g in traced))
    if until == "quantize":
        return Build(graphs)
    if not plan.target.here:
        return _for_elsewhere(plan, graphs, feeds, store, progress, until)

    compiled = compile(graphs, plan.backends, store, progress, plan.terms)
    engines, failures = compiled.engines, compiled.failures
    if until == "compile":
        return Build(graphs, engines, failures=failures)

    screened = Screened(engines)
    if config.keep == "fastest":
        screened = screen(engines, plan.threads, store, progress)
    engines, reserve, aside = screened.engines, screened.reserve, screened.aside
    findings = verify(plan.model, engines, plan.threads, store, progress, reserve)
    verified, failures = findings.verified, (*failures, *findings.failures)
    verified = keep_to_budget(plan.model, verified, feeds, _spending(plan), store, progress)
    verified = share(verified)
    engines = tuple(engine for v in verified for engine in v.variant.engines.values())
    layers = look(int8, verified, feeds, config.sensitivity, store, progress)
    if until == "verify":
        return Build(graphs, engines, verified, None, None, None, layers, failures, aside)

    idle, *busy = levels(config.loads, config.memory_loads)
    table = profile(engines, (idle,), config.profile_seconds, plan.threads, store, progress)
    choices = choose([v.candidate for v in verified], table, config.accuracy_drop)
    kept = engines if config.keep == "all" else _chosen(choices, engines)
    under = profile(kept, busy, config.profile_seconds, plan.threads, store, progress)
    footprints = weigh(kept, plan.threads, store, progress)
    table = replace(table, rows=(*table.rows, *under.rows), footprints=footprints)
    if until == "profile":
        return Build(graphs, engines, verified, table, choices, None, layers, failures, aside)

    with progress.task(f"bundle {plan.output}"):
        output = bundle(plan, verified, choices, table, layers)
    return Build(graphs, engines, verified, table, choices, output, layers, failures, aside)


def _chosen(
    choices: Mapping[str, Choice], engines: tuple[BuiltEngine, ...]
) -> tuple[BuiltEngine, ...]:
    """The engines that ship: the others were measured for the choice, which needs no more."""
    keys = {key for choice in choices.values() for key in choice.candidate.keys}
    return tuple(engine for engine in engines if engine.key in keys)


def _for_elsewhere(
    plan: Plan,
    graphs: tuple[Graph, ...],
    feeds: Feeds,
    store: Store,
    progress: Progress,
    until: str,
) -> Build:
    """Engines that cannot run here: their graphs are verified instead, and times are predicted."""
    rehearsed = compile(graphs, (REHEARSAL,), store, progress)
    findings = verify(plan.model, rehearsed.engines, plan.threads, store, progress)
    held = keep_to_budget(plan.model, findings.verified, feeds, _spending(plan), store, progress)
    int8 = tuple(graph for graph in graphs if graph.precision == "int8")
    layers = look(int8, held, feeds, plan.config.sensitivity, store, progress)
    graphs = tuple(built.graph for v in held for built in v.variant.engines.values())

    compiled = compile(graphs, plan.backends, store, progress, plan.terms)
    engines, failures = compiled.engines, (*findings.failures, *compiled.failures)
    if until == "compile":
        return Build(graphs, engines, failures=failures)

    by_graph = {(v.variant.point, v.variant.precision): v for v in held}
    verified = share(
        tuple(
            replace(by_graph[variant.point, variant.precision], variant=variant, executed=False)
            for variant in group(engines)
        )
    )
    if until == "verify":
        return Build(graphs, engines, verified, layers=layers, failures=failures)

    choices = predict([v.candidate for v in verified], plan.precisions, plan.config.accuracy_drop)
    chosen = _chosen(choices, tuple(e for v in verified for e in v.variant.engines.values()))
    table = roofline(chosen, plan.target, plan.threads)
    if until == "profile":
        return Build(graphs, engines, verified, table, choices, None, layers, failures)

    with progress.task(f"bundle {plan.output}"):
        output = bundle(plan, verified, choices, table, layers)
    return Build(graphs, engines, verified, table, choices, output, layers, failures)


def _spending(plan: Plan) -> Spending:
    return Spending(plan.config.accuracy_drop, plan.config.budget_seconds, plan.threads)


def _method(plan: Plan) -> Method:
    config = plan.config
    return Method(plan.recipe, config.ranges, config.smooth, config.calibration_samples)
