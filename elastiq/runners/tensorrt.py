"""Runs plans of TensorRT, which only the device itself can build, and takes minutes for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import ModuleType

from elastiq import cuda, plans
from elastiq.errors import ElastiqError
from elastiq.protocols import RunnerOptions
from elastiq.tensorrt import Help, PlanEngine


def load(folder: Path, options: RunnerOptions) -> PlanEngine:
    return plans.load(_runtime(), folder, options, rebuild=False)


def toolchain(capability: str = "") -> str:
    """What makes plans here, and for which GPU."""
    return f"{plans.version(_runtime())} for {cuda.driver().capability}"


def finish(folder: Path, weights: Path, help: Help, capability: str = "") -> tuple[str, ...]:
    """Make what this device lacks, and name the weights that it then needs."""
    return plans.finish(_runtime(), folder, weights, help)


@lru_cache(maxsize=1)
def _runtime() -> ModuleType:
    try:
        import tensorrt
    except ImportError as e:
        raise ElastiqError(
            "tensorrt is not installed. JetPack brings it (apt-get install python3-libnvinfer, "
            "and a virtual environment made with --system-site-packages); elsewhere: "
            "pip install tensorrt"
        ) from e
    return tensorrt
