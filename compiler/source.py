"""A user's model, loaded as their own program would load it, and asked what it can do."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

from compiler.batches import Batched
from compiler.onnx_files import OnnxFiles
from compiler.plain import PlainModule
from elastiq import digest, drivers
from elastiq.drivers import Driver
from elastiq.errors import ElastiqError
from elastiq.protocols import Arrays
from elastiq.records import Point, TensorSpec

# Our own top-level packages, whose names a user's folder may use for packages of its own.
OURS = frozenset({"benchmarks", "calibration", "compiler", "profiles", "targets", "tests"})
T = TypeVar("T")
Predict = Callable[[Arrays], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Stage:
    """A static torch module of one point, with the inputs to trace it on."""

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, str(array.dtype), array.shape)
            for name, array in ((n, tensor.numpy()) for n, tensor in self.inputs.items())
        )

    @property
    def identity(self) -> tuple[int, tuple[TensorSpec, ...]]:
        """The same for stages that are one object, and so one graph, at several points."""
        return id(self.module), self.specs


class Namespace:
    """Imports the way the user's own program does, while ours keep finding what is ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        self._theirs: dict[str, ModuleType] = {}
        self._ours: dict[str, ModuleType] = {}

    @contextmanager
    def entered(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def left(self) -> Iterator[None]:
        """For a call that their program makes to ours."""
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        self._ours = _take_out()
        sys.modules.update(self._theirs)
        sys.path.insert(0, self._folder)

    def _leave(self) -> None:
        sys.path.remove(self._folder)
        self._theirs = _take_out()
        sys.modules.update(self._ours)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in OURS]
    return {name: sys.modules.pop(name) for name in names}


class SourceModel:
    """The model contract over a user's object; an error says which of its parts failed."""

    def __init__(self, spec: str, thing: Any, namespace: Namespace, files: Iterable[Path]) -> None:
        self.spec = spec
        self._thing = thing
        self._namespace = namespace
        self._files = sorted(set(files))
        self.name = str(self._part("name"))
        self.driver_name = str(getattr(thing, "driver", "oneshot"))
        self.driver_settings = self._read_settings()
        self.points = self._read_points()
        self.stages = {point: self._read_stages(point) for point in self.points}
        for point in self.points:
            self.request(point)  # a driver that misses something says so before the first slow step

    @cached_property
    def digest(self) -> str:
        """Changes with the model's source files and with what it says of itself."""
        files: dict[str, str] = {}
        for path in self._files:  # several may have one name, in different folders
            files[path.name] = f"{files.get(path.name, '')} {digest.of_file(path)}".strip()
        says = [self.driver_name, self.driver_settings]
        return digest.of_value(
            [self.name, files, says, str(getattr(self._thing, "fingerprint", ""))]
        )

    def calibration(self, samples: int | None = None) -> list[dict[str, np.ndarray]]:
        """The calibration batches, as they come, until they hold so many samples."""
        found: list[dict[str, np.ndarray]] = []
        count = 0
        with self._calling("calibration()"):
            for batch in self._part("calibration")():
                found.append({name: np.asarray(array) for name, array in dict(batch).items()})
                count += min((len(array) for array in found[-1].values()), default=0)
                if samples is not None and count >= samples:
                    break
        return found

    @property
    def metric(self) -> str:
        """What the scores of this model mean."""
        largest = self.points[-1]
        return "task score" if self.can_evaluate else f"agreement with {largest} in torch"

    @cached_property
    def driver(self) -> Driver:
        """The driver that runs this model, here as on the device."""
        return drivers.driver(self.driver_name, self.driver_settings)

    def request(self, point: Point) -> tuple[TensorSpec, ...]:
        """What one request brings."""
        return self._asked(point, self.driver.inputs)

    def takes(self, point: Point) -> int:
        """How many requests one run of a point answers at most."""
        return self._asked(point, self.driver.takes)

    def _asked(self, point: Point, question: Callable[[drivers.Inputs], T]) -> T:
        stages = {name: stage.specs for name, stage in self.stages[point].items()}
        try:
            return question(stages)
        except KeyError as e:
            raise ElastiqError(
                f"{self.spec}: the {self.driver_name} driver needs a stage {e}; stages({point}) "
                f"has {', '.join(stages)}"
            ) from None

    @property
    def data_config(self) -> Any:
        """How images become this model's inputs, as timm says it; None if it does not say."""
        return getattr(self._thing, "data_config", None)

    @property
    def can_evaluate(self) -> bool:
        return callable(getattr(self._thing, "evaluate", None))

    def evaluate(self, predict: Predict) -> np.ndarray:
        """The scores (0…1) of the evaluation samples, one each, or one for all of them."""

        def ours(inputs: Arrays) -> dict[str, np.ndarray]:
            with self._namespace.left():
                return predict(inputs)

        with self._calling("evaluate(predict)"):
            scores = np.atleast_1d(np.asarray(self._part("evaluate")(ours), np.float64))
        if scores.ndim != 1 or not np.isfinite(scores).all():
            raise ElastiqError(f"{self.spec}: evaluate() must return one finite score per sample")
        return scores

    def _part(self, name: str) -> Any:
        try:
            return getattr(self._thing, name)
        except AttributeError:
            raise ElastiqError(
                f"{self.spec} offers no {name!r}: a model has name, points(), stages(point) "
                "and calibration(). See docs/model.md"
            ) from None

    def _read_settings(self) -> dict[str, Any]:
        given = getattr(self._thing, "driver_settings", {})
        try:
            return dict(json.loads(json.dumps(given)))
        except (TypeError, ValueError) as e:
            raise ElastiqError(f"{self.spec}: driver_settings must be a dict of JSON: {e}") from e

    def _read_points(self) -> tuple[Point, ...]:
        with self._calling("points()"):
            points = tuple(Point.of(dict(settings)) for settings in self._part("points")())
        if not points:
            raise ElastiqError(f"{self.spec}: points() is empty; a model needs one point or more")
        if len({point.name for point in points}) < len(points):
            raise ElastiqError(f"{self.spec}: points() names a point twice")
        return points

    def _read_stages(self, point: Point) -> dict[str, Stage]:
        with self._calling(f"stages({point})"):
            stages = dict(self._part("stages")(dict(point.settings)))
            read = {name: Stage(module.eval(), dict(x)) for name, (module, x) in stages.items()}
        if not read:
            raise ElastiqError(f"{self.spec}: stages({point}) is empty")
        return read

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        with self._namespace.entered():
            try:
                yield
            except ElastiqError:
                raise
            except Exception as e:  # the user's own code may raise anything
                raise ElastiqError(f"{self.spec}: {what} failed: {type(e).__name__}: {e}") from e


def load(
    spec: str, points: tuple[str, ...] = (), data: str = "", batches: tuple[int, ...] = (1,)
) -> SourceModel:
    """Load `package.module:attribute` or `path/to/file.py:attribute`, for runs of such batches.

    A plain torch module has neither points nor data of its own: they are those given.
    """
    place, colon, attribute = spec.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise ElastiqError(f"{spec!r} names no model. Write package.module:name or file.py:name")
    is_file = place.endswith(".py")
    namespace = Namespace(Path(place).parent if is_file else Path.cwd())
    before = set(sys.modules)
    with namespace.entered():
        try:
            module = _import_file(Path(place)) if is_file else importlib.import_module(place)
            thing = getattr(module, attribute)
            is_plain = isinstance(thing, torch.nn.Module)
            if isinstance(thing, type) or not (is_plain or hasattr(thing, "points")):
                thing = thing()  # a class or a factory
        except AttributeError as e:
            raise ElastiqError(f"{spec}: {e}") from e
        except Exception as e:  # importing runs the user's code, which may raise anything
            raise ElastiqError(f"cannot import {spec}: {type(e).__name__}: {e}") from e
        except SystemExit as e:
            raise ElastiqError(f"cannot import {spec}: it exits when imported") from e
        files = _source_files(module, before)
    if isinstance(thing, torch.nn.Module) and not hasattr(thing, "points"):
        thing = PlainModule(spec, thing, points, data)
    if batches != (1,):
        thing = Batched(spec, thing, batches)
    return SourceModel(spec, thing, namespace, files)


def load_onnx(files: tuple[str, ...], data: str) -> SourceModel:
    """Take ready ONNX files for a model, each named for its point."""
    return SourceModel(", ".join(files), OnnxFiles(files, data), Namespace(Path.cwd()), ())


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    found = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[path.stem] = module
    found.loader.exec_module(module)
    return module


def _source_files(model: ModuleType, before: set[str]) -> list[Path]:
    """The files the model is written in: its own package, and whatever is not a library."""
    libraries = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib"))
    package = model.__name__.partition(".")[0]
    files = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        own = name.partition(".")[0] == package
        if path and (own or (name not in before and not path.startswith(libraries))):
            files.append(Path(path))
    return files


def state_digest(module: torch.nn.Module) -> str:
    """A digest of a module's parameters and buffers."""
    state = {
        name: [str(tensor.dtype), list(tensor.shape), _tensor_digest(tensor)]
        for name, tensor in module.state_dict().items()
    }
    return digest.of_value(state)


def _tensor_digest(tensor: torch.Tensor) -> str:
    return digest.of_bytes(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
