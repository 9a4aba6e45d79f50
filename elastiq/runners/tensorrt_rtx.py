"""Runs plans of TensorRT for RTX; one that does not fit this device is built again from its graph.

A plan belongs to one version of TensorRT and to the GPUs that it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from elastiq import cache, cuda, digest, tensorrt
from elastiq.codec import decode, plain
from elastiq.errors import EngineError, missing
from elastiq.manifest import inside
from elastiq.protocols import RunnerOptions

GRAPH = "graph.onnx"
LAYOUT = "layout.json"


@dataclass(frozen=True)
class Layout:
    """Which file among the weights is the plan, and what it was made by and for."""

    plan: str
    version: str
    capabilities: tuple[str, ...]
    profiles: tuple[tensorrt.Profile, ...]  # all that the plan has
    profile: int  # of them, that of this point
    fixed: tuple[tensorrt.Feed, ...]  # inputs that make the plan this point's


def load(folder: Path, options: RunnerOptions) -> tensorrt.PlanEngine:
    layout = decode(Layout, digest.parse((folder / LAYOUT).read_bytes()), LAYOUT)
    runtime = _import()
    driver = cuda.driver()
    try:
        made = _fitting(layout, runtime, driver.capability, folder, options.weights)
        fixed = {feed.input: feed.read(options.weights) for feed in layout.fixed}
        return tensorrt.PlanEngine(runtime, driver, made, layout.profile, fixed)
    except (tensorrt.Refusal, RuntimeError) as e:
        raise EngineError(f"TensorRT for RTX cannot load {folder}: {e}") from e


def _fitting(
    layout: Layout, runtime: ModuleType, capability: str, folder: Path, weights: Path
) -> bytes:
    """The plan that came along, or one made for this device, which it keeps."""
    if layout.version == runtime.__version__ and capability in layout.capabilities:
        return inside(weights, layout.plan).read_bytes()
    graph = (folder / GRAPH).read_bytes()
    made_of = [digest.of_bytes(graph), plain(layout.profiles), runtime.__version__, capability]
    key = f"tensorrt_rtx-{digest.of_value(made_of)}"
    kept = cache.find(key)
    if kept is not None:
        return kept.tobytes()
    made = tensorrt.plan(runtime, graph, weights, (), layout.profiles)
    cache.keep(key, made)
    return made


@lru_cache(maxsize=1)
def _import() -> ModuleType:
    try:
        import tensorrt_rtx
    except ImportError as e:
        raise missing("tensorrt_rtx", "tensorrt-rtx") from e
    return tensorrt_rtx
