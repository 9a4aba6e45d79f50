"""Backends: one toolchain a file, behind one small protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from elastiq import plugins
from elastiq.records import Graph


class Backend(Protocol):
    """One compiler toolchain. What is common (hashing, caching, checks) belongs to the passes."""

    name: str  # command-line spelling = module name = key in the manifest
    runner: str  # the elastiq.runners module that loads what it builds
    precisions: frozenset[str]
    on_device: bool  # True: build() packs what the device needs to finish it

    def toolchain(self) -> str:
        """Everything that makes an old engine invalid. Raises ElastiqError when not installed."""
        ...

    def build(self, graph: Graph, out: Path) -> None:
        """Make one engine of one graph in an empty folder; large tensors go to graph.weights."""
        ...


def names() -> list[str]:
    """Every backend there is."""
    return plugins.names("targets.backends")


def backend(name: str) -> Backend:
    """The backend module of a name."""
    module: Backend = plugins.load("targets.backends", name, "backend")
    return module
