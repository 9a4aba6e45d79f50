"""The whole product in one page: passes are functions over frozen records, data goes one way.

model ─trace▶ graphs ─quantize▶ INT8 graphs ─compile▶ engines ─verify▶ ─profile▶ table ─bundle▶

INT8 engines that verify finds over the accuracy budget give layers back until they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.passes.budget import LayersOf, Spending, keep_to_budget, look
from compiler.passes.bundle import bundle
from compiler.passes.compile import BuiltEngine, Compiled, Failure, compile, in_portions, merged
from compiler.passes.feed import Feeds
from compiler.passes.profile import Level, levels, profile
from compiler.passes.quantize import Method, quantize, read_batches
from compiler.passes.roofline import roofline
from compiler.passes.screen import Screened, screen
from compiler.passes.trace import trace
from compiler.passes.tune import tune
from compiler.passes.unify import unify
from compiler.passes.verify import Verified, group, share, verify
from compiler.passes.weigh import weigh
from compiler.plan import Plan
from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
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


def build(
    plan: Plan,
    store: Store,
    progress: Progress,
    until: str = "bundle",
    workshop: Workshop = HERE,
) -> Build:
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
    if not workshop.runs(plan.target):
        return _for_elsewhere(plan, graphs, feeds, store, progress, until)

    if config.tune:
        given = plan.terms, config.tune, plan.threads
        plan = replace(plan, terms=tune(graphs, plan.backends, *given, store, progress))
    portions = in_portions(graphs, plan.backends, store, progress, plan.terms, workshop)
    if until == "compile":
        compiled = merged(portions)
        return Build(graphs, compiled.engines, failures=compiled.failures)

    proven = Proven()
    for compiled in portions:
        proven = _prove(proven, compiled, plan, feeds, store, progress, until, workshop)
    verified, engines = proven.verified, proven.engines
    failures, aside = proven.failures, proven.aside
    layers = look(int8, verified, feeds, config.sensitivity, store, progress)
    if until == "verify":
        return Build(graphs, engines, verified, None, None, None, layers, failures, aside)

    assert proven.table is not None
    choices = choose([v.candidate for v in verified], proven.table, config.accuracy_drop)
    kept = engines if config.keep == "all" else _chosen(choices, engines)
    _, *busy = levels(config.loads, config.memory_loads)
    table = _joined(proven.table, _profile(kept, busy, plan, store, progress, workshop))
    table = replace(table, footprints=weigh(kept, plan.threads, store, progress, workshop))
    if until == "profile":
        return Build(graphs, engines, verified, table, choices, None, layers, failures, aside)

    with progress.task(f"bundle {plan.output}"):
        output = bundle(plan, verified, choices, table, layers)
    return Build(graphs, engines, verified, table, choices, output, layers, failures, aside)


@dataclass(frozen=True)
class Proven:
    """The engines that were verified, and what each of them costs on the idle device."""

    verified: tuple[Verified, ...] = ()
    table: LatencyTable | None = None
    failures: tuple[Failure, ...] = ()
    aside: tuple[str, ...] = ()

    @property
    def engines(self) -> tuple[BuiltEngine, ...]:
        return tuple(engine for v in self.verified for engine in v.variant.engines.values())


def _prove(
    proven: Proven,
    compiled: Compiled,
    plan: Plan,
    feeds: Feeds,
    store: Store,
    progress: Progress,
    until: str,
    workshop: Workshop,
) -> Proven:
    """Verify a portion of the engines, bring them into the budget, and measure them in turns."""
    found = Screened(compiled.engines)
    if plan.config.keep == "fastest":
        found = screen(found.engines, plan.threads, store, progress, workshop)
    engines, aside = found.engines, (*proven.aside, *found.aside)
    findings = verify(plan.model, engines, plan.threads, store, progress, workshop, found.reserve)
    spending = _spending(plan)
    held = keep_to_budget(plan.model, findings.verified, feeds, spending, store, progress, workshop)
    failures = (*proven.failures, *compiled.failures, *findings.failures)
    proven = Proven(share((*proven.verified, *held)), proven.table, failures, aside)
    if until == "verify":
        return proven
    known = set(proven.table.engines) if proven.table else set()
    fresh = tuple(engine for engine in proven.engines if engine.key not in known)
    idle, *_ = levels(plan.config.loads, plan.config.memory_loads)
    table = _profile(fresh, (idle,), plan, store, progress, workshop)
    return replace(proven, table=_joined(proven.table, table) if proven.table else table)


def _profile(
    engines: tuple[BuiltEngine, ...],
    at: Sequence[Level],
    plan: Plan,
    store: Store,
    progress: Progress,
    workshop: Workshop,
) -> LatencyTable:
    seconds = plan.config.profile_seconds
    return profile(engines, at, seconds, plan.threads, store, progress, workshop)


def _joined(table: LatencyTable, more: LatencyTable) -> LatencyTable:
    return replace(table, rows=(*table.rows, *more.rows))


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
