"""What becomes a plan of TensorRT: a graph, of all points where they are alike, and its shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from elastiq import plans
from elastiq.errors import unknown
from elastiq.records import Graph
from elastiq.tensorrt import Feed, Profile

if TYPE_CHECKING:
    from onnx import ModelProto

    from targets.ranges import Ranged

RANGE, FIXED, APART = "range", "fixed", "apart"
KINDS = (RANGE, FIXED, APART)


def check_kind(kind: str, backend: str) -> None:
    if kind not in KINDS:
        raise unknown(f"plan of {backend}", kind, KINDS)


@dataclass(frozen=True)
class Planned:
    """A graph on disk, ready for a plan; `layout` misses the plan and who made it."""

    original: ModelProto  # of this point
    layout: plans.Layout


def prepare(graph: Graph, out: Path, kind: str) -> Planned:
    """Write the graph that a plan is made of into an engine's folder."""
    from targets import graphs, half

    original = graphs.load(graph)
    joined = None if kind == APART else _joined(graph)
    model = joined.model if joined else original
    if graph.precision != "fp32":
        model = half.lower(model)
    graphs.save(model, out / plans.GRAPH, graph.weights)
    profiles = _profiles(joined, kind) if joined else ()
    place = graph.peers.index(graph.path) if joined else 0
    fixed = (_feed(joined, place, graph.weights),) if joined else ()
    profile = place if len(profiles) > 1 else 0
    return Planned(original, plans.Layout("", "", (), profiles, profile, fixed))


def finish(layout: plans.Layout, out: Path) -> None:
    """Write the layout beside the graph, and which weights the engine needs."""
    from targets import graphs

    layout.save(out)
    used = {feed.weight for feed in layout.fixed} | ({layout.plan} if layout.plan else set())
    graphs.list_weights(used | graphs.listed_weights(out), out)


def _joined(graph: Graph) -> Ranged | None:
    """The graphs of all points as one; None where they are not alike."""
    from targets import graphs, ranges

    try:
        return ranges.merged([graphs.load(replace(graph, path=path)) for path in graph.peers])
    except ranges.NotAlike:
        return None


def _profiles(joined: Ranged, kind: str) -> tuple[Profile, ...]:
    shapes: Sequence[tuple[int, ...]] = [array.shape for array in joined.values]
    if kind == FIXED:
        return tuple(Profile(joined.knob, shape, shape, shape) for shape in shapes)
    shapes = sorted(shapes, key=math.prod)
    return (Profile(joined.knob, shapes[0], shapes[len(shapes) // 2], shapes[-1]),)


def _feed(joined: Ranged, place: int, weights: Path) -> Feed:
    from targets import graphs

    array = joined.values[place]
    name = graphs.keep_weight(array.tobytes(), weights)
    return Feed(joined.knob, name, array.shape, str(array.dtype))
