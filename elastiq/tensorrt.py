"""What TensorRT and TensorRT for RTX have in common: plans built from ONNX, and run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from elastiq import digest
from elastiq.cuda import Driver
from elastiq.errors import EngineError
from elastiq.manifest import inside
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec


class Refusal(Exception):
    """A graph that the parser or the builder refuses: its words, with the nodes it names."""


@dataclass(frozen=True)
class Profile:
    """The shapes that one input may have, from the least to the most, and the most likely one."""

    input: str
    least: tuple[int, ...]
    likely: tuple[int, ...]
    most: tuple[int, ...]


@dataclass(frozen=True)
class Feed:
    """What an input always is at one point: bytes among the weights."""

    input: str
    weight: str
    shape: tuple[int, ...]
    dtype: str

    def read(self, weights: Path) -> np.ndarray:
        return np.fromfile(inside(weights, self.weight), self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Help:
    """What makes building easier: a bound on scratch memory, and kernels timed before."""

    workspace: int = 0  # bytes; 0: as much as there is
    timings: Path | None = None  # read, and written anew


def plan(
    runtime: ModuleType,
    graph: bytes,
    weights: Path,
    capabilities: Sequence[str],
    profiles: Sequence[Profile],
    help: Help | None = None,
) -> bytes:
    """The plan of a graph whose large tensors lie in `weights`. Without capabilities: for here."""
    help = help or Help()
    messages = _messages(runtime)
    builder = runtime.Builder(messages)
    typed = getattr(runtime.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    network.name = "main"  # else a counter's, which makes equal plans differ
    parser = runtime.OnnxParser(network, messages)
    if not parser.parse(graph, str(weights / "graph.onnx")):
        raise Refusal(_errors(parser))
    config = builder.create_builder_config()
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for place, name in enumerate(capabilities):
            config.set_compute_capability(getattr(runtime.ComputeCapability, name), place)
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(profile.input, profile.least, profile.likely, profile.most)
        config.add_optimization_profile(shapes)
    if help.workspace:
        config.set_memory_pool_limit(runtime.MemoryPoolType.WORKSPACE, help.workspace)
    if help.timings:
        _read_timings(config, help.timings)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise Refusal("; ".join(messages.said) or "it gave no reason")
    if help.timings:
        _write_timings(config, help.timings)
    return bytes(made)


def _read_timings(config: Any, path: Path) -> None:
    """What another version or GPU timed is of no use, and left alone."""
    for known in (path.read_bytes() if path.exists() else b"", b""):
        timings = config.create_timing_cache(known)
        if timings is not None and config.set_timing_cache(timings, False):
            return


def _write_timings(config: Any, path: Path) -> None:
    timings = config.get_timing_cache()
    if timings is not None:
        digest.write_atomically(path, bytes(timings.serialize()))


def _messages(runtime: ModuleType) -> Any:
    """A logger that keeps the errors, which are a failed build's only words."""

    class Messages(runtime.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            runtime.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity <= runtime.ILogger.Severity.ERROR:
                self.said.append(text)

    return Messages()


def _errors(parser: Any) -> str:
    errors = (parser.get_error(i) for i in range(parser.num_errors))
    return "; ".join(f"{e.node_name()} ({e.node_operator()}): {e.desc()}" for e in errors)


class PlanEngine:
    """A plan on the GPU, with memory for its inputs and outputs; one thread enters at a time."""

    def __init__(
        self,
        runtime: ModuleType,
        driver: Driver,
        made: bytes,
        profile: int = 0,
        fixed: Arrays | None = None,
    ) -> None:
        self._driver = driver
        driver.enter()
        self._messages = _messages(runtime)
        self._loader = runtime.Runtime(self._messages)  # it must outlive its engines
        self._engine = self._loader.deserialize_cuda_engine(made)
        if self._engine is None:
            raise EngineError(f"the plan does not load: {'; '.join(self._messages.said)}")
        self._context = self._engine.create_execution_context()
        self._stream = driver.stream()
        fixed = fixed or {}
        if profile:
            self._context.set_optimization_profile_async(profile, self._stream)
        for name, array in fixed.items():
            self._context.set_input_shape(name, array.shape)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        takes = runtime.TensorIOMode.INPUT
        self._specs = {
            name: TensorSpec(
                name,
                np.dtype(runtime.nptype(self._engine.get_tensor_dtype(name))).name,
                tuple(self._context.get_tensor_shape(name)),
            )
            for name in names
        }
        taken = [n for n in names if self._engine.get_tensor_mode(n) == takes]
        self._inputs = [n for n in taken if n not in fixed]
        self._outputs = [n for n in names if n not in taken]
        self._memory = {
            name: driver.allocate(np.empty(spec.shape, spec.dtype).nbytes)
            for name, spec in self._specs.items()
        }
        for name, address in self._memory.items():
            self._context.set_tensor_address(name, address)
        for name, array in fixed.items():
            driver.upload(self._memory[name], array, self._stream)
        driver.wait(self._stream)
        self._lock = threading.Lock()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        with self._lock:
            self._driver.enter()  # this thread may be new to it
            for name in self._inputs:
                array = _checked(inputs, self._specs[name])
                self._driver.upload(self._memory[name], array, self._stream)
            if not self._context.execute_async_v3(self._stream):
                raise EngineError("the plan failed to run")
            answers = {}
            for name in self._outputs:
                answers[name] = np.empty(self._specs[name].shape, self._specs[name].dtype)
                self._driver.download(answers[name], self._memory[name], self._stream)
            self._driver.wait(self._stream)
            return answers

    def close(self) -> None:
        self._driver.enter()
        for address in self._memory.values():
            self._driver.free(address)
        self._driver.end(self._stream)
        del self._context, self._engine


def _checked(inputs: Arrays, spec: TensorSpec) -> np.ndarray:
    array = inputs.get(spec.name)
    if array is None:
        raise EngineError(f"input {spec.name} is missing")
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise EngineError(f"input {spec.name} is {array.dtype}{list(array.shape)}")
    return np.ascontiguousarray(array)
