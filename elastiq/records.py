"""The frozen records that travel between the rooms and into the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elastiq.errors import ElastiqError

PRECISIONS = ("fp32", "fp16", "int8")
WHOLE = "whole"  # the kind of request that needs no other before it


@dataclass(frozen=True)
class Point:
    """One setting of the elastic knob, such as queries=64."""

    settings: tuple[tuple[str, int | float], ...]

    @classmethod
    def of(cls, settings: Mapping[str, int | float]) -> Point:
        return cls(tuple(settings.items()))

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `queries=64` or `split=8,glimpses=12`."""
        settings: dict[str, int | float] = {}
        for part in text.split(","):
            knob, equals, value = part.partition("=")
            try:
                settings[knob.strip()] = int(value) if value.strip().isdigit() else float(value)
            except ValueError:
                equals = ""
            if not equals or not knob.strip():
                raise ElastiqError(f"{text!r} is not a point. Write it as knob=number: queries=64")
        return cls.of(settings)

    @property
    def name(self) -> str:
        return ",".join(f"{knob}={value:g}" for knob, value in self.settings)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class TensorSpec:
    """Name, numpy dtype and static shape of one input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """One stage of one point in ONNX. Large tensors are files in `weights`, named by SHA-256."""

    point: Point
    stage: str
    precision: str
    path: Path
    weights: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    peers: tuple[Path, ...] = ()  # this stage at all points, for backends that join them


@dataclass(frozen=True)
class Quality:
    """How near an engine's answers are to the source model's, over `samples` evaluation samples."""

    max_error: float
    mean_error: float
    agreement: float
    score: float
    reference_score: float
    samples: int
    margin: float | None = None  # half the 95 % interval of `drop`; None: no score per sample

    @property
    def drop(self) -> float:
        """Points of the task metric that this engine costs."""
        return 100.0 * (self.reference_score - self.score)


@dataclass(frozen=True)
class EngineRecord:
    """What a backend made of one stage at one point and precision, as the manifest names it."""

    point: str
    stage: str
    backend: str
    precision: str
    runner: str
    folder: str
    weights: tuple[str, ...]
    executed: bool  # False: it was only compiled, and `quality` is that of its graph elsewhere
    quality: Quality | None
    settings: dict[str, str | int | float] = field(default_factory=dict)  # of the backend
    compiled: bool = True  # False: the device makes the engine from its graph

    @property
    def key(self) -> str:
        return engine_key(self.point, self.stage, self.backend, self.precision)


def engine_key(point: str, stage: str, backend: str, precision: str) -> str:
    """The name of an engine in manifests, tables and messages."""
    return f"{point}/{stage}/{backend}/{precision}"


@dataclass(frozen=True)
class StageRecord:
    """One stage of a point: its signature, and the engine that was chosen to run it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engine: str
    why: str


@dataclass(frozen=True)
class Route:
    """A way that requests take through the stages of a point, and the share of them that does."""

    share: float
    runs: dict[str, int]  # how often each stage runs


@dataclass(frozen=True)
class PointRecord:
    """An operating point of a bundle. `score` is what its chosen engines measured, in 0…1."""

    name: str
    settings: dict[str, int | float]
    score: float
    stages: dict[str, StageRecord]
    inputs: tuple[TensorSpec, ...] = ()  # of a request
    takes: int = 1  # requests that are answered together, at most
    routes: dict[str, tuple[Route, ...]] = field(default_factory=dict)  # by kind of request

    def ways(self, kind: str = WHOLE) -> tuple[Route, ...]:
        """The routes of a kind of request; unless told otherwise, every stage runs once."""
        if kind in self.routes:
            return self.routes[kind]
        if kind != WHOLE:
            raise ElastiqError(f"the point {self.name} knows no request of the kind {kind!r}")
        return (Route(1.0, dict.fromkeys(self.stages, 1)),)
