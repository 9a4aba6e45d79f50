"""Compile: each graph becomes an engine, by each backend that can build it.

Backends build in child processes. What one cannot build, or falls over, is told and left out; the
store remembers it, so that it is tried again only when that is asked for or something changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from compiler.children import Died, child
from compiler.progress import Progress
from compiler.store import Store, weights_of
from elastiq import plugins
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError
from elastiq.footprint import Place
from elastiq.protocols import Engine, Runner, RunnerOptions
from elastiq.records import Graph, TensorSpec, engine_key
from targets.backends import Backend, backend

FAILURE = "failure.json"
REMEDY = {
    "time": "Allow more with --build-seconds and try again with --retry.",
    "memory": "Free some memory or allow more with --build-memory, and try again with --retry.",
    "crash": "Try again with --retry, or build with another --backend.",
}


@dataclass(frozen=True)
class Terms:
    """On what terms engines are built: the settings of backends, and limits for each engine."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 600.0
    memory: float = 0.0  # GiB; 0: as much as there is
    retry: bool = False  # what failed before


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
        chosen = backend(self.backend)
        return dict(plain(self.terms.settings.get(self.backend, chosen.Settings())))

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
) -> Compiled:
    """One engine per graph and backend that knows its precision."""
    made: list[BuiltEngine | Failure] = []
    for name in backends:
        chosen = backend(name)
        first: dict[tuple[Path, str], BuiltEngine] = {}  # one graph at several points is built once
        for graph in _joined(graphs) if chosen.joins else graphs:
            if graph.precision not in chosen.precisions:
                continue
            if (graph.path, graph.precision) in first:
                made.append(replace(first[graph.path, graph.precision], graph=graph))
                continue
            where = str(graph.point) if graph.stage == "main" else f"{graph.point} {graph.stage}"
            with progress.task(f"compile {where} {graph.precision} {name}") as task:
                one, task.cached = _one(graph, chosen, store, terms or Terms())
                task.note = one.words if isinstance(one, Failure) else ""
            made.append(one)
            if isinstance(one, BuiltEngine):
                first[graph.path, graph.precision] = one
    failures = tuple(one for one in made if isinstance(one, Failure))
    broken = {(f.point, f.backend, f.precision) for f in failures}
    engines = tuple(
        one
        for one in made
        if isinstance(one, BuiltEngine)
        and (one.graph.point.name, one.backend, one.graph.precision) not in broken
    )
    for point in {graph.point for graph in graphs} - {engine.graph.point for engine in engines}:
        whose = [str(failure) for failure in failures if failure.point == point.name]
        raise ElastiqError("; ".join(whose) or f"no backend knows the precisions of {point}")
    return Compiled(engines, failures)


def _joined(graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
    """Each graph, knowing those of the other points that take the same."""

    def kind(graph: Graph) -> tuple[object, ...]:
        return graph.stage, graph.precision, graph.inputs

    def peers(graph: Graph) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(g.path for g in graphs if kind(g) == kind(graph)))

    return tuple(replace(graph, peers=peers(graph)) for graph in graphs)


def _one(
    graph: Graph, chosen: Backend, store: Store, terms: Terms
) -> tuple[BuiltEngine | Failure, bool]:
    name = chosen.name
    settings = terms.settings.get(name, chosen.Settings())
    inputs = {
        "graph": graph.path.parent.name,
        "peers": [path.parent.name for path in graph.peers],
        "backend": name,
        "precision": graph.precision,
        "toolchain": chosen.toolchain(),
        "settings": plain(settings),
    }

    def again(entry: Path) -> bool:
        return terms.retry and (entry / FAILURE).exists()

    make = partial(_build, graph, name, settings, terms)
    entry, cached = store.produce("engine", inputs, make, again)
    if (entry / FAILURE).exists():
        failure = decode(Failure, json.loads((entry / FAILURE).read_text()), FAILURE)
        return replace(failure, point=graph.point.name, stage=graph.stage), cached
    return BuiltEngine(graph, name, chosen.runner, entry, weights_of(entry), terms), cached


def _build(graph: Graph, name: str, settings: Any, terms: Terms, out: Path) -> None:
    try:
        build = backend(name).build
        child(name, terms.memory).call(build, graph, out, settings, seconds=terms.seconds)
        return
    except Died as e:
        kind, words = e.kind, f"{e}. {REMEDY[e.kind]}"
    except ElastiqError as e:
        kind, words = "refused", str(e)
    shutil.rmtree(out)
    out.mkdir()
    failure = Failure(graph.point.name, graph.stage, name, graph.precision, kind, words)
    (out / FAILURE).write_text(json.dumps(plain(failure)))
