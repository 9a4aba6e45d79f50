"""TensorRT for RTX: plans for desktop GPUs, built here without one.

Beside the plan goes its graph, for devices that the plan does not fit, and a wrapper that ONNX
Runtime's provider for RTX runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastiq.codec import plain
from elastiq.errors import missing, unknown
from elastiq.records import Graph, TensorSpec
from elastiq.runners.tensorrt_rtx import GRAPH, LAYOUT, Layout

name = "tensorrt_rtx"
runner = "tensorrt_rtx"
precisions = frozenset({"fp32", "fp16", "int8"})
on_device = False

WRAPPER = "context.onnx"
PROVIDER = "NvTensorRTRTXExecutionProvider"


@dataclass(frozen=True)
class Settings:
    """`capabilities`: the GPUs that a plan is for, by NVIDIA's numbers."""

    capabilities: str = "SM86,SM89,SM120"

    def __post_init__(self) -> None:
        for name in self.listed:
            if name not in KNOWN:
                raise unknown("capability of tensorrt_rtx", name, KNOWN)

    @property
    def listed(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.capabilities.split(","))


KNOWN = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


def toolchain() -> str:
    try:
        return f"tensorrt_rtx {version('tensorrt_rtx')}"
    except PackageNotFoundError as e:
        raise missing("tensorrt_rtx", "tensorrt-rtx") from e


def build(graph: Graph, out: Path, settings: Settings) -> None:
    import tensorrt_rtx

    from elastiq import tensorrt
    from targets import graphs, half
    from targets.refusal import refusal

    original = model = graphs.load(graph)
    if graph.precision != "fp32":
        model = half.lower(model)
    graphs.save(model, out / GRAPH, graph.weights)
    try:
        made = tensorrt.plan(
            tensorrt_rtx, (out / GRAPH).read_bytes(), graph.weights, settings.listed
        )
    except tensorrt.Refusal as e:
        raise refusal("TensorRT for RTX", graph, original, e) from e
    plan = graphs.keep_weight(made, graph.weights)
    layout = Layout(plan, tensorrt_rtx.__version__, settings.listed)
    (out / LAYOUT).write_text(json.dumps(plain(layout)))
    (out / WRAPPER).write_bytes(_wrapper(plan, layout, graph))
    graphs.list_weights({*graphs.listed_weights(out), plan}, out)


def _wrapper(plan: str, layout: Layout, graph: Graph) -> bytes:
    """One node, in the words that ONNX Runtime's providers agreed on."""
    from onnx import helper

    node = helper.make_node(
        "EPContext",
        [spec.name for spec in graph.inputs],
        [spec.name for spec in graph.outputs],
        "plan",
        domain="com.microsoft",
        embed_mode=0,
        ep_cache_context=plan,
        main_context=1,
        source=PROVIDER,
        ep_sdk_version=layout.version,
        partition_name="plan",
    )
    ends = [[_value(spec) for spec in side] for side in (graph.inputs, graph.outputs)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "main", *ends), opset_imports=opsets, ir_version=10
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _value(spec: TensorSpec) -> object:
    import numpy as np
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
