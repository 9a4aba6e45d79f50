"""What the workers of a lab do. Those that own a device need neither torch nor ONNX for it.

An error that a user can mend comes back as a value: Dask would print the others' traces.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import distributed
from distributed.utils import sync

from compiler import workshop
from compiler.answering import Manner
from compiler.children import Died, children
from compiler.lab import device_side
from compiler.lab.parcels import Parcel, pack, received, send
from compiler.passes.compile import BuiltEngine
from compiler.store import Store
from compiler.terms import Terms
from compiler.workshop import Unavailable
from elastiq import __version__, device
from elastiq.codec import plain
from elastiq.errors import ElastiqError, EngineError
from elastiq.protocols import Arrays
from elastiq.records import Graph
from targets.backends import backend

LONGEST = 3600.0  # seconds that engines may run for one task
RUNTIMES = ("numpy", "onnxruntime", "openvino", "apache-tvm", "tensorrt", "tensorrt_rtx")
INPUTS = "inputs.npz"
MENDABLE = {"unavailable": Unavailable, "run": EngineError, "refused": ElastiqError}


# What came of a task: a value, or which kind of error and its words. No class of ours: Dask's
# client unpickles the type of a result when it likes, perhaps while the user's model is called and
# has the place of our modules.
Outcome = tuple[Any, str, str]


@dataclass(frozen=True)
class BuildOrder:
    """An engine to be built, with the parcels of its graph and of those that it is joined with."""

    graph: Graph
    parcels: tuple[Parcel, ...]
    backend: str
    toolchain: str
    terms: Terms


@dataclass(frozen=True)
class Sent:
    """An engine that is to be run elsewhere, and the parcel that it is in."""

    built: BuiltEngine
    parcel: Parcel

    def arrived(self, store: Store) -> BuiltEngine:
        graph = replace(self.built.graph, weights=store.weights)
        return replace(self.built, folder=received(self.parcel, store, _depot), graph=graph)


def introduce(dask_worker: distributed.Worker) -> dict[str, Any]:
    """Who a worker is, by its own account."""
    return {
        "name": str(dask_worker.name),
        "device": plain(device.this()),
        "circumstances": device.circumstances(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what two machines of a lab should have in common."""
    found = {"elastiq": __version__, "python": platform.python_version()}
    for name in ("distributed", *RUNTIMES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def build(order: BuildOrder) -> Outcome:
    """Build an engine, unless it is in this worker's store, and leave it at the depot."""
    return _attempt(lambda: _built(order))


def run(
    function: Callable[..., Any],
    engines: Sequence[Sent],
    arguments: Sequence[Any],
    circumstances: Mapping[str, str],
) -> Outcome:
    """What a function makes of engines on this device."""
    return _attempt(
        lambda: _on_device(circumstances, engines, device_side.run, function, arguments)
    )


def answer(
    engines: Mapping[str, Sent], manner: Manner, inputs: Parcel, circumstances: Mapping[str, str]
) -> Outcome:
    """The answers of a point's engines to a batch, and which ways its requests took."""

    def asked() -> Any:
        path = received(inputs, Store.default(), _depot) / INPUTS
        stages = tuple(engines)
        return _on_device(circumstances, engines.values(), device_side.answer, stages, manner, path)

    return _attempt(asked)


def feed(
    engines: Mapping[str, Sent],
    manner: Manner,
    stage: str,
    feeds: Sequence[Arrays],
    circumstances: Mapping[str, str],
) -> Outcome:
    """What one stage of a point makes of each of these."""
    means = (tuple(engines), manner, stage, feeds)
    return _attempt(lambda: _on_device(circumstances, engines.values(), device_side.feed, *means))


def rest() -> Outcome:
    """Unload what is loaded."""
    return _attempt(lambda: children("device").call(device_side.unload, seconds=LONGEST))


def value_of(outcome: Outcome) -> Any:
    """The value, or the error raised again."""
    value, kind, words = outcome
    if kind in MENDABLE:
        raise MENDABLE[kind](words)
    if kind:
        raise Died(kind, words)
    return value


def _attempt(work: Callable[[], Any]) -> Outcome:
    try:
        return work(), "", ""
    except Died as e:
        return None, e.kind, str(e)
    except ElastiqError as e:
        kind = next(kind for kind, error in MENDABLE.items() if isinstance(e, error))
        return None, kind, str(e)


def _depot(operation: str, **what: Any) -> Any:
    worker = distributed.get_worker()
    return sync(worker.loop, getattr(worker.scheduler, operation), **what)


def _built(order: BuildOrder) -> Parcel:
    chosen, store = backend(order.backend), Store.default()
    toolchain = chosen.toolchain()
    if toolchain != order.toolchain:
        raise Unavailable(
            f"the worker {distributed.get_worker().name} builds with {toolchain}, and this machine "
            f"has {order.toolchain}: install the same versions on both"
        )
    inputs = {
        "graphs": [parcel.identity for parcel in order.parcels],
        "backend": order.backend,
        "precision": order.graph.precision,
        "toolchain": toolchain,
        "settings": plain(order.terms.of(order.backend)),
    }

    def make(folder: Path) -> None:
        places = [received(parcel, store, _depot) for parcel in order.parcels]
        own, *peers = (place / order.graph.path.name for place in places)
        graph = replace(order.graph, path=own, weights=store.weights, peers=tuple(peers))
        workshop.build(graph, order.backend, order.terms, folder)

    entry, _ = store.produce("made", inputs, make)
    parcel = pack(entry)
    send(parcel, entry, store.weights, _depot)
    return parcel


def _on_device(
    circumstances: Mapping[str, str],
    engines: Any,
    work: Callable[..., Any],
    *means: Any,
) -> Any:
    """Do it in a process of its own, where Dask disturbs nothing and a crash costs little else."""
    changed = ", ".join(
        f"{name}: {value} instead of {circumstances.get(name)}"
        for name, value in device.circumstances().items()
        if value != circumstances.get(name)
    )
    if changed:
        raise Unavailable(f"the device changed meanwhile ({changed}). Run the same command again.")
    store = Store.default()
    arrived = tuple(engine.arrived(store) for engine in engines)
    return children("device").call(work, arrived, *means, seconds=LONGEST)
