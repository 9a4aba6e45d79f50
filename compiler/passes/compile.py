"""Compile: each graph becomes an engine, by each backend that can build it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compiler.progress import Progress
from compiler.store import Store, weights_of
from elastiq import plugins
from elastiq.codec import plain
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
    settings: Any  # those of its backend that it was built with

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
    graphs: tuple[Graph, ...],
    backends: tuple[str, ...],
    store: Store,
    progress: Progress,
    settings: Mapping[str, Any] | None = None,
) -> tuple[BuiltEngine, ...]:
    """One engine per graph and backend that knows its precision."""
    engines = []
    for name in backends:
        chosen = backend(name)
        own = (settings or {}).get(name, chosen.Settings())
        made_by = {"backend": name, "toolchain": chosen.toolchain(), "settings": plain(own)}
        for graph in graphs:
            if graph.precision not in chosen.precisions:
                continue
            with progress.task(f"compile {graph.point} {graph.precision} {name}") as task:
                inputs = {"graph": graph.path.parent.name, **made_by}
                make = partial(chosen.build, graph, settings=own)
                entry, task.cached = store.produce("engine", inputs, make)
            built = BuiltEngine(graph, name, chosen.runner, entry, weights_of(entry), own)
            engines.append(built)
    return tuple(engines)
