"""Ready ONNX files as a model: one for each point, `--onnx queries=16:model_q16.onnx`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from calibration import sources
from calibration.data import Batch, CalibrationData
from compiler.plain import SAMPLES
from elastiq import digest
from elastiq.errors import ElastiqError
from elastiq.records import Point, TensorSpec


class OnnxModule(torch.nn.Module):
    """A file, called as a torch module is: what its engines are held against."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.model = _load(path)
        files = [path, *(path.parent / name for name in _outside(path))]
        sums = "".join(digest.of_file(file) for file in files)
        # As a buffer, it enters the digest of the module's state.
        self.register_buffer("sums", torch.frombuffer(bytearray.fromhex(sums), dtype=torch.uint8))
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes; a batch of any size is taken one by one."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return tuple(
            _spec(value, self.path) for value in self.model.graph.input if value.name not in weights
        )

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        if self._session is None:
            self._session = session(str(self.path), self.path)
        names = [output.name for output in self._session.get_outputs()]
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        answers = self._session.run(names, feed)
        return {name: torch.from_numpy(a) for name, a in zip(names, answers, strict=True)}


class OnnxFiles:
    """The model contract over a file for each point."""

    driver = "oneshot"
    data_config = None

    def __init__(self, texts: tuple[str, ...], data: str) -> None:
        self._modules: dict[Point, OnnxModule] = {}
        for text in texts:
            point, path = _parse(text)
            if point in self._modules:
                raise ElastiqError(f"--onnx names {point} twice")
            self._modules[point] = OnnxModule(path)
        stems = [module.path.stem for module in self._modules.values()]
        self.name = os.path.commonprefix(stems).rstrip("_-.=0123456789") or "model"  # noqa: RUF071
        if not data:
            raise ElastiqError(
                "ONNX files bring no data, and engines are verified on some: give it, as in "
                "--calibration images.npy"
            )
        first = next(iter(self._modules.values()))
        self._batches = sources.read(Path(data), first.inputs, SAMPLES, None)
        self.fingerprint = CalibrationData(tuple(self._batches)).digest

    def points(self) -> list[dict[str, int | float]]:
        return [dict(point.settings) for point in sorted(self._modules, key=lambda p: p.settings)]

    def stages(self, point: dict[str, int | float]) -> dict[str, Any]:
        module = self._modules[Point.of(point)]
        generator = np.random.default_rng(0)
        example = {}
        for spec in module.inputs:
            kind = np.dtype(spec.dtype)
            values = generator.standard_normal(spec.shape) if kind.kind == "f" else 0
            example[spec.name] = torch.from_numpy(np.full(spec.shape, values, kind))
        return {"main": (module, example)}

    def calibration(self) -> Iterator[Batch]:
        yield from self._batches


def session(model: str | bytes, path: Path) -> onnxruntime.InferenceSession:
    """A session that runs a graph as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # the runtime's own errors share no base class
        raise ElastiqError(f"{path}: ONNX Runtime cannot load it: {e}") from e


def _parse(text: str) -> tuple[Point, Path]:
    setting, colon, path = text.partition(":")
    if not colon or not path:
        raise ElastiqError(f"{text!r} names no file. Write --onnx queries=16:model_q16.onnx")
    return Point.parse(setting), Path(path)


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ElastiqError(f"there is no file {path}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(str(path))
    except Exception as e:  # a damaged file can break the parser in any way
        raise ElastiqError(f"{path} is no ONNX model, or is damaged: {e}") from e
    return model


def _outside(path: Path) -> list[str]:
    """The files that hold its weights, where they are not in it."""
    model = onnx.load(path, load_external_data=False)
    return sorted(
        {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )


def _spec(value: onnx.ValueInfoProto, path: Path) -> TensorSpec:
    """An input with fixed sizes; where only the batch is open, it is one."""
    tensor = value.type.tensor_type
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        if not dim.dim_value and axis > 0:
            raise ElastiqError(
                f"{path}: input {value.name!r} has no fixed size along axis {axis}. Export it with "
                "static shapes, one file for each point"
            )
        shape.append(dim.dim_value or 1)
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, str(kind), tuple(shape))
