"""Compile: each graph becomes an engine, by each backend that can build it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compiler.progress import Progress
from compiler.store import Store, weights_of
from elastiq import plugins
from elastiq.protocols import Engine, Runner, RunnerOptions
from elastiq.records import Graph, engine_key
from targets.backends import backend


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in the store."""

    graph: Graph
    backend: str
    runner: str
    folder: Path
    weights: tuple[str, ...]

    @property
    def key(self) -> str:
        graph = self.graph
        return engine_key(graph.point.name, graph.stage, self.backend, graph.precision)

    def load(self, threads: int) -> Engine:
        """The engine as the device would load it."""
        options = RunnerOptions(self.graph.weights, threads)
        runner: Runner = plugins.load("elastiq.runners", self.runner, "runner")
        return runner.load(self.folder, options)


def compile(
    graphs: tuple[Graph, ...], backends: tuple[str, ...], store: Store, progress: Progress
) -> tuple[BuiltEngine, ...]:
    """One engine per graph and backend that knows its precision."""
    engines = []
    for name in backends:
        chosen = backend(name)
        toolchain = chosen.toolchain()
        for graph in graphs:
            if graph.precision not in chosen.precisions:
                continue
            with progress.task(f"compile {graph.point} {graph.precision} {name}") as task:
                inputs = {"graph": graph.path.parent.name, "backend": name, "toolchain": toolchain}
                entry, task.cached = store.produce("engine", inputs, partial(chosen.build, graph))
            engines.append(BuiltEngine(graph, name, chosen.runner, entry, weights_of(entry)))
    return tuple(engines)
