"""Backends: one toolchain a file, behind one small protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from elastiq import plugins
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError, unknown
from elastiq.records import Graph


class Backend(Protocol):
    """One compiler toolchain. What is common (hashing, caching, checks) belongs to the passes."""

    name: str  # command-line spelling = module name = key in the manifest
    runner: str  # the elastiq.runners module that loads what it builds
    precisions: frozenset[str]
    on_device: bool  # True: build() packs what the device needs to finish it
    joins: bool  # True: build() may make one engine of the graphs of all points
    measures: bool  # True: build() times kernels on this machine, and must be alone on it
    integer_products: bool  # False: INT8 is a way to keep weights, and products are floating
    Settings: type  # a frozen dataclass; every field has a default

    def toolchain(self) -> str:
        """Everything that makes an old engine invalid. Raises ElastiqError when not installed."""
        ...

    def build(self, graph: Graph, out: Path, settings: Any) -> None:
        """Make one engine of one graph in an empty folder; large tensors go to graph.weights."""
        ...


class Tuner(Backend, Protocol):
    """A backend that can find out, on the device, by which kernels an engine is fastest."""

    def tasks(self, graphs: Sequence[Graph], settings: Any) -> tuple[str, ...]:
        """What there is to tune in graphs. What several of them need is one task."""
        ...

    def tune(self, task: str, settings: Any, threads: int, folder: Path) -> bool:
        """Measure a little more of a task, and note it in its folder; whether that was all."""
        ...

    def tuned(self, settings: Any, folders: Mapping[str, Path]) -> Any:
        """The settings with what was found of tasks, by the folders of those that are done."""
        ...


def names() -> list[str]:
    """Every backend there is."""
    return plugins.names("targets.backends")


def backend(name: str) -> Backend:
    """The backend module of a name."""
    module: Backend = plugins.load("targets.backends", name, "backend")
    return module


def tuner(name: str) -> Tuner | None:
    """The backend of a name, if it tunes."""
    module: Any = backend(name)
    return module if hasattr(module, "tune") else None


def configured(given: tuple[str, ...]) -> Mapping[str, Any]:
    """The settings of every backend, each given as `backend.setting=value`."""
    values: dict[str, dict[str, str]] = {name: {} for name in names()}
    for text in given:
        name, dot, rest = text.partition(".")
        setting, equals, value = rest.partition("=")
        if not (dot and equals):
            raise ElastiqError(f"{text!r} is no setting. Write it as openvino.hint=throughput")
        if name not in values:
            raise unknown("backend", name, values)
        values[name][setting.strip()] = value.strip()
    return {name: _settings(name, texts) for name, texts in values.items()}


def _settings(name: str, texts: Mapping[str, str]) -> Any:
    kind = backend(name).Settings
    defaults = plain(kind())
    try:
        typed = {key: type(defaults.get(key, ""))(text) for key, text in texts.items()}
    except ValueError as e:
        raise ElastiqError(f"{name}: {e}") from e
    return decode(kind, typed, name)
