"""TensorRT: plans that only the device itself can build.

What is made here is all that it needs for that: the graph, in the precision it is to run in, the
shapes, and a script for NVIDIA's own `trtexec`. `elastiq finalize` makes the plan. Where this
machine is the device, the plan is made at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastiq import cuda
from elastiq.errors import ElastiqError
from elastiq.records import Graph
from elastiq.runners import tensorrt as device
from targets import plans

name = "tensorrt"
runner = "tensorrt"
precisions = frozenset({"fp32", "fp16", "int8"})
on_device = True
joins = True
measures = True
integer_products = True

SCRIPT = "trtexec.sh"


@dataclass(frozen=True)
class Settings:
    """`plan`: one for all points, or several; as that of tensorrt_rtx."""

    plan: str = plans.RANGE

    def __post_init__(self) -> None:
        plans.check_kind(self.plan, name)


def toolchain() -> str:
    """Nothing is needed to pack what the device is to build."""
    return device.toolchain() if _is_here() else "of the device"


def build(graph: Graph, out: Path, settings: Settings) -> None:
    from elastiq.plans import layout
    from elastiq.tensorrt import Help
    from targets import trtexec

    planned = plans.prepare(graph, out, settings.plan)
    plans.finish(planned.layout, out)
    (out / SCRIPT).write_text(trtexec.script(planned.layout))
    if _is_here():
        device.finish(out, graph.weights, Help())
        plans.finish(layout(out), out)


def _is_here() -> bool:
    try:
        return cuda.available() and bool(device.toolchain())
    except ElastiqError:
        return False
