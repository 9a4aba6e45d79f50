"""Runs OpenVINO's intermediate representation on the CPU.

The first load compiles, and keeps what came out in the device's cache; the next one finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, LifoQueue
from types import ModuleType
from typing import Any

import numpy as np

from elastiq import cache, device, digest
from elastiq.codec import decode
from elastiq.errors import EngineError, missing
from elastiq.manifest import inside
from elastiq.protocols import Arrays, RunnerOptions

MODEL = "model.xml"
LAYOUT = "layout.json"
REST = "constants.bin"
HINTS = ("latency", "throughput")
EXACT_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimd"}  # CPU flags, any of which suffices


@dataclass(frozen=True)
class Span:
    """A constant's place. Its bytes are a weight of that name, else the next of the rest."""

    offset: int
    size: int
    weight: str


@dataclass(frozen=True)
class Layout:
    """Where a model's constants come from, and how it should run."""

    hint: str
    size: int
    spans: tuple[Span, ...]


class OpenVinoEngine:
    """A compiled model, and requests whose tensors are set once: setting them takes longest."""

    def __init__(self, runtime: ModuleType, compiled: Any, blob: np.ndarray | None) -> None:
        self._runtime = runtime
        self._compiled = compiled
        self._blob = blob  # the model reads its constants from there
        self._idle: LifoQueue[_Request] = LifoQueue()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = _Request(self._runtime, self._compiled)
        try:
            return request.answer(inputs)
        except (RuntimeError, KeyError, ValueError) as e:
            raise EngineError(f"OpenVINO failed: {e}") from e
        finally:
            self._idle.put(request)

    def close(self) -> None:
        self._idle = LifoQueue()
        del self._compiled


class _Request:
    """One run at a time, from and into arrays of its own."""

    def __init__(self, runtime: ModuleType, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs, self._outputs = (
            {port.get_any_name(): np.empty(port.shape, port.element_type.to_dtype()) for port in s}
            for s in (compiled.inputs, compiled.outputs)
        )
        for name, array in (*self._inputs.items(), *self._outputs.items()):
            self._request.set_tensor(name, runtime.Tensor(array, shared_memory=True))

    def answer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        for name, array in self._inputs.items():
            given = inputs[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(f"{name} is {given.dtype}{list(given.shape)}")
            array[...] = given
        self._request.infer()
        return {name: array.copy() for name, array in self._outputs.items()}


def load(folder: Path, options: RunnerOptions) -> OpenVinoEngine:
    runtime = _import()
    core = _core()
    model, told, rest = ((folder / name).read_bytes() for name in (MODEL, LAYOUT, REST))
    layout = decode(Layout, digest.parse(told), LAYOUT)
    settings = _settings(layout.hint, options.threads)
    key = _key(runtime, (model, told, rest), settings)
    blob = cache.find(key)
    if blob is not None:
        try:
            sealed = runtime.Tensor(blob, shared_memory=True)
            compiled = core.import_model(sealed, "CPU", settings)
            return OpenVinoEngine(runtime, compiled, blob)
        except RuntimeError:  # what it kept may not fit any more; the model does
            pass
    try:
        constants = _constants(runtime, layout, rest, options.weights)
        compiled = core.compile_model(core.read_model(model, constants), "CPU", settings)
        cache.keep(key, compiled.export_model().getvalue())
    except RuntimeError as e:
        raise EngineError(f"OpenVINO cannot load {folder}: {e}") from e
    return OpenVinoEngine(runtime, compiled, None)


def _settings(hint: str, threads: int) -> dict[str, Any]:
    settings = {
        "PERFORMANCE_HINT": hint.upper(),
        "INFERENCE_NUM_THREADS": threads,
        # Its default on CPUs with bfloat16 instructions is less exact than what was verified.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # engines that pin themselves to one core fight for it
    }
    if not EXACT_INT8.intersection(device.this().flags):
        # Its integer products saturate on such CPUs (errors of 15 %), and are slower than FP32.
        settings["LP_TRANSFORMS_MODE"] = "NO"
    return settings


def _key(runtime: ModuleType, files: Iterable[bytes], settings: dict[str, Any]) -> str:
    parts = [digest.of_bytes(data) for data in files]
    made_by = [runtime.get_version(), device.this().name]
    return f"openvino-{digest.of_value([*parts, *made_by, settings])}"


def _constants(runtime: ModuleType, layout: Layout, rest: bytes, weights: Path) -> Any:
    """The constants as one tensor, in memory that is OpenVINO's own."""
    tensor = runtime.Tensor(runtime.Type.u8, runtime.Shape([layout.size]))
    memory, used = tensor.data, 0
    for span in layout.spans:
        place = memory[span.offset : span.offset + span.size]
        if span.weight:
            place[:] = np.fromfile(inside(weights, span.weight), np.uint8)
        else:
            place[:] = np.frombuffer(rest, np.uint8, span.size, used)
            used += span.size
    return tensor


@lru_cache(maxsize=1)
def _core() -> Any:
    return _import().Core()


@lru_cache(maxsize=1)
def _import() -> ModuleType:
    try:
        import openvino
    except ImportError as e:
        raise missing("openvino", "openvino") from e
    return openvino
