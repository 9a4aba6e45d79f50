"""Runs ONNX Runtime's ahead-of-time optimised graphs on the CPU.

Where engines are to share their weights, they are loaded from the device's cache. An engine that is
not there yet is loaded as it was shipped, and answers; a child process packs its weights meanwhile,
and then the engine goes on with those.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from elastiq import cache, device, packing
from elastiq.errands import errands
from elastiq.errors import ElastiqError, EngineError, missing
from elastiq.protocols import Arrays, RunnerOptions

FILE = "engine.onnx"
EXACT = {"session.x64quantprecision": "1"}  # exact products, if slower ones


class OnnxRuntimeEngine:
    """One session, which may be replaced by one that answers the same.

    It allocates its answers: with memory bound to it once, runs took as long, or 1 % longer.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            answers = self._session.run(self._outputs, inputs)
        except Exception as e:  # the runtime's own errors share no base class
            raise EngineError(f"ONNX Runtime failed: {e}") from e
        return dict(zip(self._outputs, answers, strict=True))

    @property
    def closed(self) -> bool:
        return self._session is None

    def replace(self, session: Any) -> None:
        """Go on with another session, unless it is too late."""
        if not self.closed:
            self._session = session

    def close(self) -> None:
        self._session = None


def load(folder: Path, options: RunnerOptions) -> OnnxRuntimeEngine:
    model = (folder / FILE).read_bytes()
    runtime = _runtime(options.threads)
    try:
        if not options.share:
            return OnnxRuntimeEngine(_shipped(runtime, model, options))
        kept = _kept(runtime, model, options.threads)
        if kept is not None:
            return OnnxRuntimeEngine(kept)
        with ThreadPoolExecutor(1) as pool:
            room = pool.submit(packing.fits, model)
            engine = OnnxRuntimeEngine(_shipped(runtime, model, options))
    except ElastiqError:
        raise
    except Exception as e:  # the runtime's own errors share no base class
        raise EngineError(f"ONNX Runtime cannot load {folder}: {e}") from e
    if room.result():
        _share_later(engine, folder, options)
    return engine


def _share_later(engine: OnnxRuntimeEngine, folder: Path, options: RunnerOptions) -> None:
    errand = [__name__, str(folder.resolve()), str(options.weights.resolve())]

    def swap() -> None:
        if engine.closed:
            return
        session = _kept(_import(), (folder / FILE).read_bytes(), options.threads)
        if session is not None:
            session.run(None, _example(session))  # a first run is slow
            engine.replace(session)

    errands().send(lambda: errand, swap)


def _pack(folder: Path, weights: Path) -> None:
    """Keep an engine with its weights packed, if it then answers the same to the last bit."""
    model = (folder / FILE).read_bytes()
    runtime, options = _import(), RunnerOptions(weights)
    name = _key(runtime, model)
    kept = packing.find(name)
    if (kept is not None and packing.is_whole(kept)) or not packing.fits(model):
        return  # another process was faster, or took the room
    with cache.draft() as draft:
        settings = _settings(runtime, weights, options.threads, packing.SAVING)
        settings.optimized_model_filepath = str(Path(draft) / packing.MODEL)
        shipped = _session(runtime, model, settings)
        packed = packing.pack(Path(draft))
    example = _example(shipped)
    expected = shipped.run(None, example)
    answers = _packed(runtime, packed, options.threads).run(None, example)
    if any(a.tobytes() != e.tobytes() for a, e in zip(answers, expected, strict=True)):
        raise EngineError(f"{folder} answers otherwise with packed weights")
    cache.keep(name, packed)
    cache.trim()


def _kept(runtime: ModuleType, model: bytes, threads: int) -> Any:
    """A session from the device's cache; None if there is none."""
    name = _key(runtime, model)
    packed = packing.find(name)
    if packed is None:
        return None
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(packing.is_whole, packed)
        try:
            session = _packed(runtime, packed, threads)
        except Exception:  # what was kept may not fit any more; what was shipped does
            cache.drop(name)
            return None
    return session if whole.result() else None


def exact() -> dict[str, str]:
    """The settings of sessions that make INT8 exact on this device.

    Without VNNI they would be wrong by 20 %. With AMX, whose kernels are exact, they would be 1.5
    to 2.8 times as slow for it.
    """
    return {} if device.this().exact_in_int8 else EXACT


def _key(runtime: ModuleType, model: bytes) -> str:
    return packing.key(model, runtime.__version__, exact())


def _packed(runtime: ModuleType, packed: bytes, threads: int) -> Any:
    settings = _settings(runtime, cache.folder(), threads)
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it was
    return _session(runtime, packed, settings)


def _shipped(runtime: ModuleType, model: bytes, options: RunnerOptions) -> Any:
    """A session of what came with the bundle, whose weights are checked meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(options.check)
        session = _session(runtime, model, _settings(runtime, options.folder, options.threads))
        checked.result()
    return session


def _session(runtime: ModuleType, model: bytes, settings: Any) -> Any:
    return runtime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _settings(
    runtime: ModuleType, weights: Path, threads: int, more: Mapping[str, str] | None = None
) -> Any:
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    settings.enable_cpu_mem_arena = False  # one a session is most of what engines do not share
    place = {"session.model_external_initializers_file_folder_path": str(weights.resolve())}
    for key, value in (place | exact() | dict(more or {})).items():
        settings.add_session_config_entry(key, value)
    if threads > 1:
        settings.use_per_session_threads = False  # one pool for all engines: they never fight
    else:
        settings.intra_op_num_threads = 1
    return settings


def _example(session: Any) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    return {
        put.name: random.standard_normal(put.shape).astype(types[put.type])
        if put.type in types
        else np.zeros(put.shape, put.type.removeprefix("tensor(").removesuffix(")"))
        for put in session.get_inputs()
    }


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


if __name__ == "__main__":
    _pack(Path(sys.argv[1]), Path(sys.argv[2]))
