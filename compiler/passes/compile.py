"""Compile: each graph becomes an engine, by each backend that can build it.

Backends build in child processes. What one cannot build, or falls over, is told and left out; the
store remembers it, so that it is tried again only when that is asked for or something changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from compiler.children import Died
from compiler.crew import crew
from compiler.progress import Progress
from compiler.store import Store, weights_of
from compiler.terms import Terms
from compiler.workshop import HERE, Filling, Unavailable, Workshop
from elastiq import plugins
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError
from elastiq.footprint import Place
from elastiq.protocols import Engine, Runner, RunnerOptions
from elastiq.records import Graph, Point, TensorSpec, engine_key
from targets.backends import Backend, backend

FAILURE = "failure.json"
REMEDY = {
    "time": "Allow more with --build-seconds and try again with --retry.",
    "memory": "Free some memory or allow more with --build-memory, and try again with --retry.",
    "crash": "Try again with --retry, or build with another --backend.",
}


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in the store."""

    graph: Graph
    backend: str
    runner: str
    folder: Path
    weights: tuple[str, ...]
    terms: Terms
    shared: str = ""  # the key of the engine of another point or stage that this one is

    @property
    def key(self) -> str:
        graph = self.graph
        if self.shared:
            return self.shared
        return engine_key(graph.point.name, graph.stage, self.backend, graph.precision)

    @property
    def settings(self) -> dict[str, Any]:
        """The backend's settings that it was built with."""
        return dict(plain(self.terms.of(self.backend)))

    @property
    def identity(self) -> str:
        """What changes when the engine does."""
        return self.folder.name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.graph.inputs

    def load(self, threads: int) -> Engine:
        """The engine as the device would load it."""
        options = RunnerOptions(self.graph.weights, threads)
        runner: Runner = plugins.load("elastiq.runners", self.runner, "runner")
        return runner.load(self.folder, options)

    def place(self, threads: int) -> Place:
        """Where it lies, for processes that load it."""
        folders = str(self.folder), str(self.graph.weights)
        return Place(self.runner, *folders, self.graph.inputs, threads)


@dataclass(frozen=True)
class Failure:
    """An engine that could not be had: whose, and why, in the toolchain's own words."""

    point: str
    stage: str
    backend: str
    precision: str
    kind: str  # refused, crash, memory, time, or run: it was built, and does not run
    words: str

    def __str__(self) -> str:
        return (
            f"no {self.precision} engine by {self.backend} at {self.point}, stage "
            f"{self.stage!r}: {self.words}"
        )


@dataclass(frozen=True)
class Compiled:
    """The engines of all variants that are whole, and what kept the others from it."""

    engines: tuple[BuiltEngine, ...]
    failures: tuple[Failure, ...]


def compile(
    graphs: tuple[Graph, ...],
    backends: tuple[str, ...],
    store: Store,
    progress: Progress,
    terms: Terms | None = None,
    workshop: Workshop = HERE,
) -> Compiled:
    """One engine per graph and backend that knows its precision."""
    return merged(in_portions(graphs, backends, store, progress, terms, workshop))


def in_portions(
    graphs: tuple[Graph, ...],
    backends: tuple[str, ...],
    store: Store,
    progress: Progress,
    terms: Terms | None = None,
    workshop: Workshop = HERE,
) -> Iterator[Compiled]:
    """The same, a portion of the points after another. All engines are ordered at first."""
    jobs = _jobs(graphs, backends, terms or Terms())
    points = list(dict.fromkeys(graph.point for graph in graphs))
    begun: dict[object, Filling] = {}
    for job in sorted(jobs, key=lambda job: points.index(job.graph.point)):
        if job.identity not in begun:
            begun[job.identity] = job.begin(store, workshop)
    made: dict[object, BuiltEngine | Failure] = {}
    alone = any(job.chosen.measures for job in jobs)
    builders = crew(1 if alone else workshop.builders)
    for portion in workshop.portions(points):
        of_portion = [job for job in jobs if job.graph.point in portion]
        new = {job.identity: job for job in of_portion if job.identity not in made}
        calls = [partial(_made, job, begun[i], store, progress) for i, job in new.items()]
        made |= zip(new, builders.side_by_side(calls), strict=True)
        yield _whole(portion, [_of(made[job.identity], job.graph) for job in of_portion])


def merged(portions: Iterator[Compiled]) -> Compiled:
    """All portions as one."""
    found = tuple(portions)
    return Compiled(
        tuple(engine for one in found for engine in one.engines),
        tuple(failure for one in found for failure in one.failures),
    )


@dataclass(frozen=True)
class _Job:
    """An engine to be had of a graph."""

    graph: Graph
    chosen: Backend
    terms: Terms

    @property
    def identity(self) -> object:
        """One graph at several points is built once."""
        return self.graph.path, self.graph.precision, self.chosen.name

    def __str__(self) -> str:
        graph = self.graph
        where = str(graph.point) if graph.stage == "main" else f"{graph.point} {graph.stage}"
        return f"{where} {graph.precision} {self.chosen.name}"

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """All that the engine is made from."""
        return {
            "graph": self.graph.path.parent.name,
            "peers": [path.parent.name for path in self.graph.peers],
            "backend": self.chosen.name,
            "precision": self.graph.precision,
            "toolchain": self.chosen.toolchain(),
            "settings": plain(self.terms.of(self.chosen.name)),
        }

    def again(self, entry: Path) -> bool:
        return self.terms.retry and (entry / FAILURE).exists()

    def begin(self, store: Store, workshop: Workshop) -> Filling:
        """What will fill the engine's folder. Only what is not in the store is ordered now."""
        order = partial(workshop.order, self.graph, self.chosen.name, self.terms)
        if store.has("engine", self.inputs, self.again):
            return lambda out: order()(out)
        return order()


def _jobs(graphs: tuple[Graph, ...], backends: tuple[str, ...], terms: Terms) -> list[_Job]:
    return [
        _Job(graph, chosen, terms)
        for chosen in map(backend, backends)
        for graph in (_joined(graphs) if chosen.joins else graphs)
        if graph.precision in chosen.precisions
    ]


def _joined(graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
    """Each graph, knowing those of the other points that take the same."""

    def kind(graph: Graph) -> tuple[object, ...]:
        return graph.stage, graph.precision, graph.inputs

    def peers(graph: Graph) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(g.path for g in graphs if kind(g) == kind(graph)))

    return tuple(replace(graph, peers=peers(graph)) for graph in graphs)


def _made(job: _Job, filling: Filling, store: Store, progress: Progress) -> BuiltEngine | Failure:
    with progress.task(f"compile {job}") as task:
        make = partial(_fill, job, filling)
        entry, task.cached = store.produce("engine", job.inputs, make, job.again)
        if (entry / FAILURE).exists():
            failure = decode(Failure, json.loads((entry / FAILURE).read_text()), FAILURE)
            task.note = failure.words
            return failure
    name, runner = job.chosen.name, job.chosen.runner
    return BuiltEngine(job.graph, name, runner, entry, weights_of(entry), job.terms)


def _fill(job: _Job, filling: Filling, out: Path) -> None:
    try:
        filling(out)
        return
    except Unavailable:
        raise
    except Died as e:
        kind, words = e.kind, f"{e}. {REMEDY[e.kind]}"
    except ElastiqError as e:
        kind, words = "refused", str(e)
    shutil.rmtree(out)
    out.mkdir()
    graph = job.graph
    where = (graph.point.name, graph.stage, job.chosen.name, graph.precision)
    (out / FAILURE).write_text(json.dumps(plain(Failure(*where, kind, words))))


def _of(one: BuiltEngine | Failure, graph: Graph) -> BuiltEngine | Failure:
    """The same, as that of a graph that is one with its own."""
    if isinstance(one, Failure):
        return replace(one, point=graph.point.name, stage=graph.stage)
    return replace(one, graph=graph)


def _whole(points: Sequence[Point], made: list[BuiltEngine | Failure]) -> Compiled:
    """The engines of variants that are whole."""
    failures = tuple(one for one in made if isinstance(one, Failure))
    broken = {(f.point, f.backend, f.precision) for f in failures}
    engines = tuple(
        one
        for one in made
        if isinstance(one, BuiltEngine)
        and (one.graph.point.name, one.backend, one.graph.precision) not in broken
    )
    for point in set(points) - {engine.graph.point for engine in engines}:
        whose = [str(failure) for failure in failures if failure.point == point.name]
        raise ElastiqError("; ".join(whose) or f"no backend knows the precisions of {point}")
    return Compiled(engines, failures)
