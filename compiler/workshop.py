"""The workshop: where engines are built, and the device on which they are run and measured.

Passes ask it for both. `Here` is this machine; a lab has many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from compiler.answering import Answering, Loadable, Loaded, Manner
from compiler.children import children
from compiler.terms import Terms
from elastiq import device
from elastiq.device import Device
from elastiq.errors import ElastiqError
from elastiq.records import Graph, Point
from targets.backends import backend
from targets.devices import Target

BUILDERS = 4  # at once, at most: each may need gigabytes
Made = TypeVar("Made")
Filling = Callable[[Path], None]


class Unavailable(ElastiqError):
    """The workshop itself failed, not what it was asked to make: nothing follows for that."""


class Workshop(Protocol):
    """What passes need of the machines that they use."""

    @property
    def device(self) -> Device:
        """Where engines run."""
        ...

    @property
    def circumstances(self) -> dict[str, str]:
        """What a measurement there depends on."""
        ...

    def runs(self, target: Target) -> bool:
        """Whether engines for a target can be run."""
        ...

    def portions(self, points: Sequence[Point]) -> Iterable[Sequence[Point]]:
        """Points whose engines are verified and measured together, one portion after another."""
        ...

    @property
    def builders(self) -> int:
        """How many engines are waited for at once."""
        ...

    def order(self, graph: Graph, name: str, terms: Terms) -> Filling:
        """Have a backend build an engine. What comes back fills its folder, when it is called."""
        ...

    def run(self, function: Callable[..., Made], engines: Sequence[Any], *arguments: Any) -> Made:
        """What a function makes of engines on the device, while nothing else of ours runs there."""
        ...

    def notes(self, folder: Path) -> Path | None:
        """Where `run` may leave notes to go on from, for a result in this folder; None: nowhere."""
        ...

    def load(self, engines: Mapping[str, Any], manner: Manner) -> Answering:
        """The engines of a point, loaded on the device."""
        ...


class Here:
    """This machine: it builds engines when they are needed, and is the device."""

    @property
    def device(self) -> Device:
        return device.this()

    @property
    def circumstances(self) -> dict[str, str]:
        return device.circumstances()

    def runs(self, target: Target) -> bool:
        return target.here

    def portions(self, points: Sequence[Point]) -> Iterable[Sequence[Point]]:
        return [points]  # a compiler at work beside them would be measured, too

    @property
    def builders(self) -> int:
        return min(device.this().cores, BUILDERS)

    def order(self, graph: Graph, name: str, terms: Terms) -> Filling:
        return lambda out: build(graph, name, terms, out)

    def run(self, function: Callable[..., Made], engines: Sequence[Any], *arguments: Any) -> Made:
        return function(engines, *arguments)

    def notes(self, folder: Path) -> Path | None:
        return folder

    def load(self, engines: Mapping[str, Loadable], manner: Manner) -> Answering:
        return Loaded(engines, manner)


HERE = Here()


def build(graph: Graph, name: str, terms: Terms, out: Path) -> None:
    """Build an engine in a child process of its toolchain."""
    chosen = backend(name)
    settings = terms.of(name)
    children(name, terms.memory).call(chosen.build, graph, out, settings, seconds=terms.seconds)
