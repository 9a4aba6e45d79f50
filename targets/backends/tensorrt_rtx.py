"""TensorRT for RTX: plans for desktop GPUs, built here without one.

Beside the plan goes its graph, for devices that the plan does not fit, and a wrapper that ONNX
Runtime's provider for RTX runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from elastiq.errors import unknown
from elastiq.plans import GRAPH, Layout
from elastiq.records import Graph, TensorSpec
from targets import plans
from targets.tools import tools

if TYPE_CHECKING:
    from elastiq.tensorrt import Profile

name = "tensorrt_rtx"
runner = "tensorrt_rtx"
precisions = frozenset({"fp32", "fp16", "int8"})
on_device = False
joins = True
integer_products = True

TOOLS = {"tensorrt_rtx": ("1.7.1.116", "1.7.1.117")}  # plans are its own
WRAPPER = "context.onnx"
PROVIDER = "NvTensorRTRTXExecutionProvider"
KNOWN = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


@dataclass(frozen=True)
class Settings:
    """`capabilities`: the GPUs that a plan is for, by NVIDIA's numbers.

    `plan`: one for all points, with one profile for the range of their sizes or with a fixed one
    for each, or a plan apart for each point.
    """

    capabilities: str = "SM86,SM89,SM120"
    plan: str = "range"

    def __post_init__(self) -> None:
        plans.check_kind(self.plan, name)
        for capability in self.listed:
            if capability not in KNOWN:
                raise unknown(f"capability of {name}", capability, KNOWN)

    @property
    def listed(self) -> tuple[str, ...]:
        return tuple(capability.strip() for capability in self.capabilities.split(","))


def toolchain() -> str:
    return tools(TOOLS, "tensorrt-rtx")


def build(graph: Graph, out: Path, settings: Settings) -> None:
    from elastiq import tensorrt
    from targets import graphs
    from targets.refusal import refusal

    planned = plans.prepare(graph, out, settings.plan)
    profiles = planned.layout.profiles
    try:
        made = _plan((out / GRAPH).read_bytes(), graph.weights, settings.listed, profiles)
    except tensorrt.Refusal as e:
        raise refusal("TensorRT for RTX", graph, planned.original, e) from e
    layout = replace(
        planned.layout,
        plan=graphs.keep_weight(made, graph.weights),
        version=toolchain(),
        capabilities=settings.listed,
    )
    plans.finish(layout, out)
    (out / WRAPPER).write_bytes(_wrapper(layout, graph))


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
        ep_sdk_version=version("tensorrt_rtx"),
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
