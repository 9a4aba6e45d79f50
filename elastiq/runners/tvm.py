"""Runs libraries that TVM made; their matrix products are numpy's, whose library has fast ones.

Weights are prepared once per load: TVM says how in the library itself. What then is the same for
several engines of a process, they have in common.
"""

from __future__ import annotations

import ctypes
import importlib
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from elastiq import device, digest
from elastiq.codec import decode
from elastiq.errors import EngineError, missing
from elastiq.manifest import inside
from elastiq.protocols import Arrays, RunnerOptions
from elastiq.records import TensorSpec

LAYOUT = "layout.json"
PRODUCT = "elastiq.matmul"  # what libraries call for a matrix product
PREPARE = "main_transform_params"


@dataclass(frozen=True)
class Layout:
    """What a library takes and gives, and on what it runs. A weight's name is its file's."""

    library: str  # its file, called by its digest: the system takes one path for one library
    version: str  # of TVM
    machine: str
    flags: tuple[str, ...]  # the instructions it uses, if a device may lack them
    gpu: str  # sm_87; empty: it runs on the CPU
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    weights: tuple[TensorSpec, ...]


class Kept:
    """A prepared weight."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


class TvmEngine:
    """A library's virtual machine, which one thread enters at a time."""

    def __init__(
        self, runtime: ModuleType, folder: Path, layout: Layout, options: RunnerOptions
    ) -> None:
        from tvm import relax

        self._runtime = runtime
        self._layout = layout
        self._device = runtime.cuda() if layout.gpu else runtime.cpu()
        library = runtime.runtime.load_module(str(inside(folder, layout.library)))
        self._machine = relax.VirtualMachine(library, self._device)
        weights = options.weights
        given = [self._tensor(_weight(spec, weights)) for spec in layout.weights]
        # What this one sets free goes back to the system, and not into a pool for its next run.
        preparing = relax.VirtualMachine(library, self._device, memory_cfg="naive")
        prepared = list(preparing[PREPARE](given)) if given else []
        shares = options.share and not layout.gpu
        self._kept = [_in_common(tensor) if shares else Kept(tensor) for tensor in prepared]
        self._weights = [kept.tensor for kept in self._kept]
        self._lock = threading.Lock()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            feed = [self._tensor(_checked(inputs[spec.name], spec)) for spec in self._layout.inputs]
            with self._lock:
                answer = self._machine["main"](*feed, *self._weights)
                parts = [answer] if len(self._layout.outputs) == 1 else list(answer)
                arrays = [part.numpy() for part in parts]
        except (RuntimeError, KeyError, ValueError, TypeError) as e:
            raise EngineError(f"TVM failed: {e}") from e
        return dict(zip(self._layout.outputs, arrays, strict=True))

    def close(self) -> None:
        del self._machine, self._weights, self._kept

    def _tensor(self, array: np.ndarray) -> Any:
        return self._runtime.runtime.tensor(array, self._device)


def load(folder: Path, options: RunnerOptions) -> TvmEngine:
    layout = decode(Layout, digest.parse((folder / LAYOUT).read_bytes()), LAYOUT)
    runtime = load_runtime()
    _check(layout, runtime, folder)
    use_threads(options.threads)
    try:
        return TvmEngine(runtime, folder, layout, options)
    except (RuntimeError, OSError, ValueError) as e:
        raise EngineError(f"TVM cannot load {folder}: {e}") from e


def _check(layout: Layout, runtime: ModuleType, folder: Path) -> None:
    """A library for another machine is refused in words, not by a signal."""
    lacking = sorted(set(layout.flags) - set(device.this().flags))
    if layout.machine != platform.machine():
        why = f"it is for {layout.machine}, and this machine is {platform.machine()}"
    elif lacking:
        why = f"it uses {', '.join(lacking)}, which this CPU has not"
    elif layout.version != runtime.__version__:
        why = (
            f"TVM {layout.version} made it, and {runtime.__version__} is installed. "
            f"Install apache-tvm=={layout.version}, or build again"
        )
    elif layout.gpu and not runtime.cuda().exist:
        why = f"it is for a GPU of {layout.gpu}, and TVM finds none here"
    else:
        return
    raise EngineError(f"{folder} cannot run here: {why}")


def _weight(spec: TensorSpec, folder: Path) -> np.ndarray:
    return np.fromfile(inside(folder, spec.name), spec.dtype).reshape(spec.shape)


_comparing = threading.Lock()
_known: WeakValueDictionary[str, Kept] = WeakValueDictionary()


def _in_common(tensor: Any) -> Kept:
    """The weight of the same content that another engine has, if there is one, else this one."""
    array = np.from_dlpack(tensor)
    content = digest.of_bytes(np.ascontiguousarray(array).data)
    name = digest.of_value([content, array.shape, str(array.dtype)])
    with _comparing:
        kept = _known.get(name)
        if kept is None:
            kept = _known[name] = Kept(tensor)
        return kept


def _checked(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise ValueError(f"{spec.name} is {array.dtype}{list(array.shape)}")
    return np.ascontiguousarray(array)


def _product(a: Any, b: Any, out: Any) -> None:
    np.matmul(np.from_dlpack(a), np.from_dlpack(b), out=np.from_dlpack(out))


def use_threads(threads: int) -> None:
    """Tell the library behind numpy's products how many threads it may use."""
    for path in (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_"):
            if hasattr(library, name):
                getattr(library, name)(threads)


@lru_cache(maxsize=1)
def load_runtime() -> ModuleType:
    """TVM, that knows of numpy's products."""
    try:
        with _without_torch():
            import tvm
            import tvm_ffi
    except ImportError as e:
        raise missing("apache-tvm", "tvm") from e
    tvm_ffi.register_global_func(PRODUCT, _product)
    return tvm


@contextmanager
def _without_torch() -> Iterator[None]:
    """TVM imports torch wherever it is installed, which takes longest and is of no use here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
        importlib.invalidate_caches()
