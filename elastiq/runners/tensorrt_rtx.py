"""Runs plans of TensorRT for RTX; one that does not fit this device is built again, in seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import ModuleType

from elastiq import cuda, plans
from elastiq.errors import missing
from elastiq.protocols import RunnerOptions
from elastiq.tensorrt import Help, PlanEngine


def load(folder: Path, options: RunnerOptions) -> PlanEngine:
    return plans.load(_runtime(), folder, options, rebuild=True)


def toolchain(capability: str = "") -> str:
    """What makes plans here, and for which GPU: the one that is here unless told otherwise."""
    return f"{plans.version(_runtime())} for {capability or cuda.driver().capability}"


def finish(folder: Path, weights: Path, help: Help, capability: str = "") -> tuple[str, ...]:
    """Make what this device lacks, and name the weights that it then needs."""
    return plans.finish(_runtime(), folder, weights, help, capability)


@lru_cache(maxsize=1)
def _runtime() -> ModuleType:
    try:
        import tensorrt_rtx
    except ImportError as e:
        raise missing("tensorrt_rtx", "tensorrt-rtx") from e
    return tensorrt_rtx
