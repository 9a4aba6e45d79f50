"""Runs ONNX Runtime's ahead-of-time optimised graphs on the CPU."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from elastiq.errors import EngineError, missing
from elastiq.protocols import Arrays, RunnerOptions

FILE = "engine.onnx"


class OnnxRuntimeEngine:
    """One session. Its weights are mapped from the bundle's weight files."""

    def __init__(self, runtime: ModuleType, model: bytes, options: RunnerOptions) -> None:
        settings = runtime.SessionOptions()
        settings.log_severity_level = 3
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(options.weights.resolve())
        )
        # Without VNNI the u8 x s8 kernels saturate and answer wrongly by 20 %; this makes ONNX
        # Runtime use u8 x u8 ones on such CPUs, and changes nothing on the others.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        if options.threads > 1:
            settings.use_per_session_threads = False  # one pool for all engines: they never fight
        else:
            settings.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            answers = self._session.run(self._outputs, inputs)
        except Exception as e:  # the runtime's own errors share no base class
            raise EngineError(f"ONNX Runtime failed: {e}") from e
        return dict(zip(self._outputs, answers, strict=True))

    def close(self) -> None:
        del self._session


def load(folder: Path, options: RunnerOptions) -> OnnxRuntimeEngine:
    model = (folder / FILE).read_bytes()
    runtime = _runtime(options.threads)
    try:
        return OnnxRuntimeEngine(runtime, model, options)
    except Exception as e:  # the runtime's own errors share no base class
        raise EngineError(f"ONNX Runtime cannot load {folder}: {e}") from e


@lru_cache(maxsize=1)
def _import() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as e:
        raise missing("onnxruntime", "onnxruntime") from e
    return onnxruntime


@lru_cache(maxsize=1)
def _shared_pool(threads: int) -> None:
    _import().set_global_thread_pool_sizes(threads, 1)


def _runtime(threads: int) -> ModuleType:
    if threads > 1:
        _shared_pool(threads)
    return _import()
