"""What to build: read from `elastiq.toml` and the command line, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elastiq.errors import ElastiqError
from targets import toml

FILE = "elastiq.toml"


@dataclass(frozen=True)
class Config:
    """The settings of a build: the keys of elastiq.toml, and the options of `elastiq build`."""

    model: str = ""
    onnx: tuple[str, ...] = ()  # instead of a model, a file for each point: queries=16:q16.onnx
    target: str = "cpu-x86"
    points: tuple[str, ...] = ()  # queries=16,32: only these values of the knob
    batches: tuple[int, ...] = (1,)  # requests that one run answers at most: a point for each
    backends: tuple[str, ...] = ()  # none: those of the target
    settings: tuple[str, ...] = ()  # openvino.hint=throughput: of a backend
    precisions: tuple[str, ...] = ()  # none: those of the target
    accuracy_drop: float = 0.5  # points of the task metric that an engine may cost
    budget_seconds: float = 600.0  # at most, per point and backend, on returning to the budget
    build_seconds: float = 600.0  # at most, per engine
    tune: float = 0.0  # minutes at most, of backends that can; 0: not at all
    build_memory: float = 0.0  # GiB at most, per backend; 0: as much as there is
    retry: bool = False  # engines that could not be built before
    sensitivity: bool = False  # look at every layer at every point, not only where it must be
    recipe: str = ""  # none: that of the target; or "portable", "cpu", "nvidia"
    ranges: str = "percentile"  # or "minmax", "mse", "entropy"
    smooth: bool = True  # move outlier channels of LayerNorms into the weights
    calibration: str = ""  # a .npy, .npz or folder of images, instead of the model's own data
    calibration_samples: int = 128
    threads: int = 0  # 0: what the target says
    loads: tuple[float, ...] = (0.0, 0.5, 1.0)  # shares of the CPU taken by others in the profile
    memory_loads: tuple[float, ...] = (1.0,)  # the same, by programs that stream through memory
    profile_seconds: float = 2.0  # at most, per engine and load
    keep: str = "fastest"  # or "all"
    lab: str = ""  # the scheduler of a lab that builds and measures: tcp://192.168.1.10:8786
    lab_patience: float = 300.0  # seconds to wait for a worker that has gone
    archive: bool = False  # the bundle as a single file, too
    output: str = ""

    def __post_init__(self) -> None:
        if self.keep not in ("fastest", "all"):
            raise ElastiqError(f"keep is {self.keep!r}; it must be 'fastest' or 'all'")
        if not self.batches or min(self.batches) < 1:
            raise ElastiqError("batches must be whole numbers from 1 up")
        if self.onnx and self.batches != (1,):
            raise ElastiqError(
                "ONNX files have the batch they were exported with: leave --batch out, or build "
                "from the torch module"
            )
        if self.accuracy_drop < 0:
            raise ElastiqError("accuracy_drop must not be negative")
        if self.build_seconds <= 0 or self.build_memory < 0:
            raise ElastiqError("build_seconds and build_memory must be positive")
        if self.tune < 0:
            raise ElastiqError("tune must not be negative")
        if self.tune and self.lab:
            raise ElastiqError(
                "--tune measures kernels on this machine, and a lab's engines run on another. Tune "
                "on the device itself, and leave --lab out"
            )
        if self.budget_seconds < 0:
            raise ElastiqError("budget_seconds must not be negative")
        if self.calibration_samples < 1 or self.profile_seconds <= 0 or self.threads < 0:
            raise ElastiqError("calibration_samples, profile_seconds and threads must be positive")
        if self.lab_patience < 0:
            raise ElastiqError("lab_patience must not be negative")
        if any(not 0 <= load <= 1 for load in self.loads) or 0.0 not in self.loads:
            raise ElastiqError("loads must lie between 0 and 1 and include 0")
        if any(not 0 <= load <= 1 for load in self.memory_loads):
            raise ElastiqError("memory_loads must lie between 0 and 1")


def read(path: Path | None, flags: Mapping[str, Any]) -> Config:
    """The settings of a file, overridden by the flags that were given."""
    config = toml.read(Config, path) if path else Config()
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return replace(config, **given)
