"""Runs OpenVINO's intermediate representation on the CPU.

The first load compiles, and keeps what came out in the device's cache; the next one finds it. Large
engines over the same weights that are open together become one model, which packs them once.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, LifoQueue
from types import ModuleType
from typing import Any

import numpy as np

from elastiq import cache, device, digest, jointmodel, kin
from elastiq.codec import decode
from elastiq.errors import EngineError, missing
from elastiq.jointmodel import PLACE
from elastiq.kin import ALONE, Kin, Seat
from elastiq.manifest import inside
from elastiq.protocols import Arrays, RunnerOptions

log = logging.getLogger(__name__)

MODEL = "model.xml"
LAYOUT = "layout.json"
REST = "constants.bin"
HINTS = ("latency", "throughput")
WORTH = 16 << 20  # bytes of weights, from which on it is worth to share them
QUANTIZED = b"FakeQuantize"  # in a model of INT8


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


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled model: of one engine, or of several that are one."""

    runtime: ModuleType
    model: Any
    constants: np.ndarray | None  # the memory that it reads them from


class OpenVinoEngine:
    """A compiled model, and requests whose tensors are set once: setting them takes longest."""

    def __init__(self, shipped: Shipped, compiled: Compiled, seat: Seat | None = None) -> None:
        self.shipped = shipped
        self.key = shipped.key
        self.seat = seat
        self._compiled: Compiled | None = compiled
        self._idle: LifoQueue[_Request] = LifoQueue()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        idle = self._idle
        try:
            request = idle.get_nowait()
        except Empty:
            request = self._request()
        try:
            return request.answer(inputs)
        except (RuntimeError, KeyError, ValueError) as e:
            raise EngineError(f"OpenVINO failed: {e}") from e
        finally:
            idle.put(request)

    @functools.cached_property
    def shape(self) -> object:
        """What it takes and gives."""
        return self._request().shape

    @property
    def closed(self) -> bool:
        return self._compiled is None

    def go_on(self, joint: Compiled, seat: Seat) -> None:
        """Answer as a part of a joint from now on, unless it is too late."""
        request = _Request(joint, seat.place)
        request.run()  # a first run is slow
        if not self.closed:
            self._compiled, self.seat = joint, seat
            self._idle = LifoQueue()
            self._idle.put(request)

    def close(self) -> None:
        self._compiled = None
        self._idle = LifoQueue()

    def _request(self) -> _Request:
        if self._compiled is None:
            raise EngineError("the engine is closed")
        return _Request(self._compiled, self.seat and self.seat.place)


class _Request:
    """One run at a time, from and into arrays of its own."""

    def __init__(self, compiled: Compiled, place: int | None) -> None:
        self._request = compiled.model.create_infer_request()
        self._compiled = compiled  # whose memory it reads
        self._inputs, self._outputs = (
            {port.get_any_name(): np.zeros(port.shape, port.element_type.to_dtype()) for port in s}
            for s in (compiled.model.inputs, compiled.model.outputs)
        )
        for name, array in (*self._inputs.items(), *self._outputs.items()):
            self._request.set_tensor(name, compiled.runtime.Tensor(array, shared_memory=True))
        if place is not None:
            self._place = self._inputs.pop(PLACE)  # kept: the tensor does not
            self._place[...] = place

    @property
    def shape(self) -> object:
        both = (self._inputs, self._outputs)
        return str([[(name, a.shape, a.dtype) for name, a in arrays.items()] for arrays in both])

    def answer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        for name, array in self._inputs.items():
            given = inputs[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(f"{name} is {given.dtype}{list(given.shape)}")
            array[...] = given
        self.run()
        return {name: array.copy() for name, array in self._outputs.items()}

    def example(self, random: np.random.Generator) -> Arrays:
        return {
            name: np.asarray(random.standard_normal(array.shape), array.dtype)
            for name, array in self._inputs.items()
        }

    def run(self) -> None:
        self._request.infer()


class Shipped:
    """An engine as it came: what it is made from, and how it should run."""

    def __init__(self, folder: Path, options: RunnerOptions) -> None:
        self.folder, self.options = folder, options
        files = [(folder / name).read_bytes() for name in (MODEL, LAYOUT, REST)]
        self._model, told, self._rest = files
        self._layout = decode(Layout, digest.parse(told), LAYOUT)
        self.hint, self.size = self._layout.hint, self._layout.size
        self.settings = _settings(self.hint, options.threads)
        made_by = [_import().get_version(), device.this().name]
        parts = [digest.of_bytes(data) for data in files]
        self.key = f"openvino-{digest.of_value([*parts, *made_by, self.settings])}"

    @property
    def gains(self) -> bool:
        """Whether it is worth to be one with others. INT8 is not tried: what OpenVINO makes of
        integers inside of a branch is not what was verified."""
        weights = sum(span.size for span in self._layout.spans if span.weight)
        return self.options.share and weights >= WORTH and QUANTIZED not in self._model

    def compiled(self) -> Compiled:
        """What the cache has of it, else what was shipped, compiled."""
        runtime, core = _import(), _core()
        blob = cache.find(self.key)
        if blob is not None:
            try:
                sealed = runtime.Tensor(blob, shared_memory=True)
                model = core.import_model(sealed, "CPU", self.settings)
            except RuntimeError:  # what it kept may not fit any more; the model does
                pass
            else:
                cache.let_go(blob)
                return Compiled(runtime, model, blob)
        try:
            model = core.compile_model(self.read(), "CPU", self.settings)
            cache.keep(self.key, model.export_model().getvalue())
        except RuntimeError as e:
            raise EngineError(f"OpenVINO cannot load {self.folder}: {e}") from e
        return Compiled(runtime, model, None)

    def read(self) -> Any:
        """The model, with its constants as one tensor, in memory that is OpenVINO's own."""
        runtime, weights = _import(), self.options.weights
        tensor = runtime.Tensor(runtime.Type.u8, runtime.Shape([self._layout.size]))
        memory, used = tensor.data, 0
        for span in self._layout.spans:
            place = memory[span.offset : span.offset + span.size]
            if span.weight:
                place[:] = np.fromfile(inside(weights, span.weight), np.uint8)
            else:
                place[:] = np.frombuffer(self._rest, np.uint8, span.size, used)
                used += span.size
        return _core().read_model(self._model, tensor)


def load(folder: Path, options: RunnerOptions) -> OpenVinoEngine:
    shipped = Shipped(folder, options)
    if not shipped.gains:
        return OpenVinoEngine(shipped, shipped.compiled())
    relatives = _kin(options.folder, shipped.hint, options.threads)
    compiled, seat = relatives.place(shipped.key) or (shipped.compiled(), None)
    engine = OpenVinoEngine(shipped, compiled, seat)
    relatives.welcome(engine)
    return engine


@functools.cache
def _kin(weights: Path, hint: str, threads: int) -> Kin:
    """The engines of this process over the same weights, which could be one."""
    return Kin(partial(_joint, settings=_settings(hint, threads)), _order)


def _joint(name: str, settings: dict[str, Any]) -> Compiled | None:
    """A joint that is kept, compiled."""
    model, constants = cache.find(name), cache.find(_constants_of(name))
    if model is None or constants is None:
        return None
    runtime, core = _import(), _core()
    try:
        sealed = runtime.Tensor(constants, shared_memory=True)
        compiled = core.compile_model(core.read_model(model.tobytes(), sealed), "CPU", settings)
    except RuntimeError as e:
        log.warning("%s cannot be loaded: %s", name, e)
        cache.drop(name)
        return None
    cache.let_go(constants)
    return Compiled(runtime, compiled, constants)


def _constants_of(joint: str) -> str:
    return f"{joint}-constants"


def _order(engines: Sequence[OpenVinoEngine]) -> list[str]:
    """What a child process is told, to make these one."""
    shipped = [engine.shipped for engine in engines]
    weights = [one.options.weights for one in shipped]  # each has its own checked
    paths = [weights[0], *(one.folder for one in shipped)]
    return [__name__, str(shipped[0].options.threads), *(str(path.resolve()) for path in paths)]


def _unite(threads: int, weights: Path, *folders: Path) -> None:
    """Keep engines as one, if that can be, and each then answers the same to the last bit."""
    members = [Shipped(folder, RunnerOptions(weights, threads)) for folder in folders]
    if not cache.has_room(max(member.size for member in members)):
        return
    name = f"openvino-joint-{digest.of_value([member.key for member in members])}"
    try:
        _join(name, members)
        differing = _differing(name, members)
    except RuntimeError as e:
        log.warning("%s cannot be one: %s", ", ".join(map(str, folders)), e)
        differing = True
    if differing:
        cache.drop(name)
        name = ALONE
    for place, member in enumerate(members):
        kin.keep(member.key, Seat(name, place))
    cache.trim()


def _join(name: str, members: Sequence[Shipped]) -> None:
    with cache.draft() as draft:
        made = Path(draft) / MODEL
        joint = jointmodel.join(_import(), [member.read() for member in members])
        _import().serialize(joint, made)
        cache.keep(_constants_of(name), made.with_suffix(".bin").read_bytes())
        cache.keep(name, made.read_bytes())


def _differing(name: str, members: Sequence[Shipped]) -> bool:
    """Whether any of these answers otherwise by itself."""
    joint = _joint(name, members[0].settings)
    if joint is None:
        return True
    random = np.random.default_rng(0)
    for place, member in enumerate(members):
        alone, part = _Request(member.compiled(), None), _Request(joint, place)
        inputs = alone.example(random)
        answers = part.answer(inputs)
        if any(answers[n].tobytes() != a.tobytes() for n, a in alone.answer(inputs).items()):
            log.warning("%s answers otherwise as a part of %s", member.folder, name)
            return True
    return False


def _settings(hint: str, threads: int) -> dict[str, Any]:
    settings = {
        "PERFORMANCE_HINT": hint.upper(),
        "INFERENCE_NUM_THREADS": threads,
        # Its default on CPUs with bfloat16 instructions is less exact than what was verified.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # engines that pin themselves to one core fight for it
    }
    if not device.this().exact_in_int8:
        # It would be wrong by 15 %, and slower than in FP32.
        settings["LP_TRANSFORMS_MODE"] = "NO"
    return settings


@functools.cache
def _core() -> Any:
    return _import().Core()


@functools.cache
def _import() -> ModuleType:
    try:
        import openvino
    except ImportError as e:
        raise missing("openvino", "openvino") from e
    return openvino


if __name__ == "__main__":
    _unite(int(sys.argv[1]), *map(Path, sys.argv[2:]))
