"""TensorRT for RTX: plans for desktop GPUs, built here without one.

Beside the plan goes its graph, for devices that the plan does not fit, and a wrapper that ONNX
Runtime's provider for RTX runs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from elastiq.codec import plain
from elastiq.errors import missing, unknown
from elastiq.records import Graph, TensorSpec
from elastiq.runners.tensorrt_rtx import GRAPH, LAYOUT, Layout

if TYPE_CHECKING:
    from elastiq.tensorrt import Feed, Profile
    from targets.ranges import Ranged

name = "tensorrt_rtx"
runner = "tensorrt_rtx"
precisions = frozenset({"fp32", "fp16", "int8"})
on_device = False
joins = True

WRAPPER = "context.onnx"
PROVIDER = "NvTensorRTRTXExecutionProvider"


@dataclass(frozen=True)
class Settings:
    """`capabilities`: the GPUs that a plan is for, by NVIDIA's numbers.

    `plan`: one for all points, with one profile for the range of their sizes or with a fixed one
    for each, or a plan apart for each point.
    """

    capabilities: str = "SM86,SM89,SM120"
    plan: str = "range"

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise unknown("plan of tensorrt_rtx", self.plan, PLANS)
        for name in self.listed:
            if name not in KNOWN:
                raise unknown("capability of tensorrt_rtx", name, KNOWN)

    @property
    def listed(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.capabilities.split(","))


FIXED, APART = "fixed", "apart"
PLANS = ("range", FIXED, APART)
KNOWN = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


def toolchain() -> str:
    try:
        return f"tensorrt_rtx {version('tensorrt_rtx')}"
    except PackageNotFoundError as e:
        raise missing("tensorrt_rtx", "tensorrt-rtx") from e


def build(graph: Graph, out: Path, settings: Settings) -> None:
    from elastiq import tensorrt
    from targets import graphs, half
    from targets.refusal import refusal

    original = graphs.load(graph)
    joined = _joined(graph, settings)
    model = joined.model if joined else original
    if graph.precision != "fp32":
        model = half.lower(model)
    graphs.save(model, out / GRAPH, graph.weights)
    profiles = _profiles(joined, settings) if joined else ()
    try:
        made = _plan((out / GRAPH).read_bytes(), graph.weights, settings.listed, profiles)
    except tensorrt.Refusal as e:
        raise refusal("TensorRT for RTX", graph, original, e) from e
    place = graph.peers.index(graph.path) if joined else 0
    layout = Layout(
        plan=graphs.keep_weight(made, graph.weights),
        version=version("tensorrt_rtx"),
        capabilities=settings.listed,
        profiles=profiles,
        profile=place if len(profiles) > 1 else 0,
        fixed=(_feed(joined, place, graph.weights),) if joined else (),
    )
    (out / LAYOUT).write_text(json.dumps(plain(layout)))
    (out / WRAPPER).write_bytes(_wrapper(layout, graph))
    used = {layout.plan, *(feed.weight for feed in layout.fixed)}
    graphs.list_weights(used | graphs.listed_weights(out), out)


def _joined(graph: Graph, settings: Settings) -> Ranged | None:
    """The graphs of all points as one; None where they are not alike, or are to stay apart."""
    from targets import graphs, ranges

    if settings.plan == APART:
        return None
    try:
        return ranges.merged([graphs.load(replace(graph, path=path)) for path in graph.peers])
    except ranges.NotAlike:
        return None


def _profiles(joined: Ranged, settings: Settings) -> tuple[Profile, ...]:
    from elastiq.tensorrt import Profile

    shapes = [array.shape for array in joined.values]
    if settings.plan == FIXED:
        return tuple(Profile(joined.knob, shape, shape, shape) for shape in shapes)
    shapes.sort(key=math.prod)
    return (Profile(joined.knob, shapes[0], shapes[len(shapes) // 2], shapes[-1]),)


def _feed(joined: Ranged, place: int, weights: Path) -> Feed:
    from elastiq.tensorrt import Feed
    from targets import graphs

    array = joined.values[place]
    name = graphs.keep_weight(array.tobytes(), weights)
    return Feed(joined.knob, name, array.shape, str(array.dtype))


@lru_cache(maxsize=1)
def _plan(
    graph: bytes, weights: Path, capabilities: tuple[str, ...], profiles: tuple[Profile, ...]
) -> bytes:
    """The plan; the next point asks for the same one."""
    import tensorrt_rtx

    from elastiq import tensorrt

    return tensorrt.plan(tensorrt_rtx, graph, weights, capabilities, profiles)


def _wrapper(layout: Layout, graph: Graph) -> bytes:
    """One node, in the words that ONNX Runtime's providers agreed on.

    An input that makes the plan this point's is there by default.
    """
    from onnx import helper, numpy_helper

    given = [TensorSpec(feed.input, feed.dtype, feed.shape) for feed in layout.fixed]
    inputs = [*graph.inputs, *given]
    defaults = [numpy_helper.from_array(f.read(graph.weights), f.input) for f in layout.fixed]
    node = helper.make_node(
        "EPContext",
        [spec.name for spec in inputs],
        [spec.name for spec in graph.outputs],
        "plan",
        domain="com.microsoft",
        embed_mode=0,
        ep_cache_context=layout.plan,
        main_context=1,
        source=PROVIDER,
        ep_sdk_version=layout.version,
        partition_name="plan",
    )
    ends = [[_value(spec) for spec in side] for side in (inputs, graph.outputs)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "main", *ends, defaults), opset_imports=opsets, ir_version=10
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _value(spec: TensorSpec) -> object:
    import numpy as np
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
