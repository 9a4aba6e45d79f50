"""A plain torch module as a model: its knob is an argument, its points and its data are named."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibration import sources
from calibration.data import Batch, CalibrationData
from elastiq.errors import ElastiqError, unknown
from elastiq.records import Point, TensorSpec

SAMPLES = 1024  # that points are held against each other on


class AtSettings(torch.nn.Module):
    """A module with some of its arguments fixed."""

    def __init__(self, module: torch.nn.Module, settings: dict[str, int | float]) -> None:
        super().__init__()
        self.module = module
        self.settings = settings

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.module(**inputs, **self.settings)


class PlainModule:
    """The model contract over a module whose `forward` takes the knob beside its inputs."""

    driver = "oneshot"

    def __init__(
        self, spec: str, module: torch.nn.Module, points: tuple[str, ...], data: str
    ) -> None:
        self.name = spec.rpartition(":")[2]
        self._module = module.eval()
        self._points = _points(spec, module, points)
        self.data_config = getattr(module, "data_config", None)
        if not data:
            raise ElastiqError(
                f"{spec} is a plain module, which brings no data of its own: give it some, as in "
                "--calibration images.npy"
            )
        knobs = {knob for point in self._points for knob, _ in point.settings}
        self._batches = self._read(Path(data), [a for a in _arguments(module) if a not in knobs])
        self.fingerprint = CalibrationData(tuple(self._batches)).digest

    def points(self) -> list[dict[str, int | float]]:
        return [dict(point.settings) for point in self._points]

    def stages(self, point: dict[str, int | float]) -> dict[str, Any]:
        first = {
            name: torch.from_numpy(np.array(array[:1])) for name, array in self._batches[0].items()
        }
        return {"main": (AtSettings(self._module, point), first)}

    def calibration(self) -> Iterator[Batch]:
        yield from self._batches

    def _read(self, path: Path, names: list[str]) -> list[Batch]:
        how = None
        if self.data_config is not None:
            how = sources.Preprocessing.of(self.data_config)
        size = tuple((self.data_config or {}).get("input_size", ()))
        inputs = tuple(TensorSpec(name, "float32", (1, *size)) for name in names)
        return sources.read(path, inputs, SAMPLES, how)


def _points(spec: str, module: torch.nn.Module, texts: tuple[str, ...]) -> list[Point]:
    """Every combination of the values given, as in `queries=16,32,64`; the smallest first."""
    if not texts:
        raise ElastiqError(
            f"{spec} is a plain module: say at which values of its argument it shall run, as in "
            "--points queries=16,32,64. Or let it offer points() and stages(): docs/model.md"
        )
    columns = []
    for text in texts:
        knob, _, values = text.partition("=")
        if knob not in _arguments(module):
            raise unknown(f"argument of {type(module).__name__}.forward", knob, _arguments(module))
        parsed = (Point.parse(f"{knob}={value}").settings[0] for value in values.split(","))
        columns.append(sorted(set(parsed)))
    return [Point(settings) for settings in itertools.product(*columns)]


def _arguments(module: torch.nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)
