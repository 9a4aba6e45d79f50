"""Verify: every engine's answers, on the evaluation samples, against those of the source model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from compiler.passes.compile import BuiltEngine, Failure
from compiler.progress import Progress
from compiler.source import SourceModel, Stage, state_digest
from compiler.store import Store
from elastiq import arrays, device
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError, EngineError
from elastiq.protocols import Arrays, Driver
from elastiq.records import Point, Quality
from profiles import paired
from profiles.choice import Candidate

REVISION = 2  # of what this pass finds in the same answers
ANSWERS = "answers.npz"
SHIPPED = 256  # samples whose inputs are kept, to travel with the bundle
QUALITY = "quality.json"
Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Variant:
    """The engines of one point that come from one backend at one precision, stage by stage."""

    point: Point
    backend: str
    precision: str
    engines: Mapping[str, BuiltEngine]

    def __str__(self) -> str:
        return f"{self.point} {self.precision} {self.backend}"


@dataclass(frozen=True)
class Verified:
    """A variant, how good its answers are, and the file that holds them sample by sample."""

    variant: Variant
    quality: Quality
    answers: Path
    reference: Path
    note: str = ""  # what was given back, or tried, for the accuracy budget
    executed: bool = True  # False: the answers are those of another engine of the same graph

    @property
    def candidate(self) -> Candidate:
        """The same, as choosing sees it."""
        variant = self.variant
        stages = tuple(variant.engines)
        return Candidate(
            variant.point.name,
            stages,
            variant.backend,
            variant.precision,
            self.quality,
            self.note,
        )


@dataclass(frozen=True)
class Findings:
    """What was verified, and the variants whose engines could not be loaded or run."""

    verified: tuple[Verified, ...]
    failures: tuple[Failure, ...]


class Recorder:
    """Passes requests on to engines, and keeps what came out, and the first of what went in."""

    def __init__(self, answer: Callable[[Arrays], Answers], batch: int | None = 1) -> None:
        self._answer = answer
        self._batch = batch
        self._inputs: list[Answers] = []
        self._kept = 0
        self._outputs: list[Answers] = []

    def __call__(self, inputs: Arrays) -> Answers:
        count = len(next(iter(inputs.values())))
        size = self._batch or count
        answers = [
            self._answer({name: array[i : i + size] for name, array in inputs.items()})
            for i in range(0, count, size)
        ]
        outputs = _joined(answers)
        if self._kept < SHIPPED:
            room = SHIPPED - self._kept
            self._inputs.append({name: np.array(array[:room]) for name, array in inputs.items()})
            self._kept += min(room, count)
        self._outputs.append(outputs)
        return outputs

    @property
    def inputs(self) -> Answers:
        return _joined(self._inputs)

    @property
    def outputs(self) -> Answers:
        return _joined(self._outputs)

    @property
    def count(self) -> int:
        return len(next(iter(self.outputs.values())))


def verify(
    model: SourceModel,
    engines: tuple[BuiltEngine, ...],
    threads: int,
    store: Store,
    progress: Progress,
) -> Findings:
    """How every point's engines answer, per backend and precision, beside the source model."""
    truth = None if model.can_evaluate else _reference(model, model.points[-1], None, store)
    references: dict[Point, Path] = {}
    verified, failures = [], []
    for variant in group(engines):
        with progress.task(f"verify {variant}") as task:
            if variant.point not in references:
                references[variant.point] = _reference(model, variant.point, truth, store)
            reference = references[variant.point]
            inputs = {
                "engines": {stage: e.folder.name for stage, e in variant.engines.items()},
                "reference": reference.name,
                "device": plain(device.this()),
                "threads": threads,
                "revision": REVISION,
            }
            make = partial(_verify, model, variant, reference, truth, threads)
            try:
                entry, task.cached = store.produce("verify", inputs, make)
            except EngineError as e:
                task.note = str(e)
                failures.append(_failure(variant, e))
                continue
        quality = decode(Quality, json.loads((entry / QUALITY).read_text()), QUALITY)
        verified.append(Verified(variant, quality, entry / ANSWERS, reference / ANSWERS))
    for point in {engine.graph.point for engine in engines} - {v.variant.point for v in verified}:
        raise ElastiqError("; ".join(str(f) for f in failures if f.point == point.name))
    return Findings(tuple(verified), tuple(failures))


def _failure(variant: Variant, error: EngineError) -> Failure:
    stages = ", ".join(variant.engines)
    where = (variant.point.name, stages, variant.backend, variant.precision)
    return Failure(*where, "run", str(error))


def group(engines: tuple[BuiltEngine, ...]) -> tuple[Variant, ...]:
    """Engines by point, backend and precision."""
    found: dict[tuple[Point, str, str], dict[str, BuiltEngine]] = {}
    for engine in engines:
        key = (engine.graph.point, engine.backend, engine.graph.precision)
        found.setdefault(key, {})[engine.graph.stage] = engine
    return tuple(Variant(*key, stages) for key, stages in found.items())


def load_answers(path: Path) -> tuple[Answers, Answers, np.ndarray]:
    """Inputs, outputs and scores of the evaluation samples."""
    found = arrays.load(path)
    inputs = {name[3:]: array for name, array in found.items() if name.startswith("in_")}
    outputs = {name[4:]: array for name, array in found.items() if name.startswith("out_")}
    return inputs, outputs, found["scores"]


def _reference(model: SourceModel, point: Point, truth: Path | None, store: Store) -> Path:
    """What torch answers at a point: what that point's engines are held against."""
    stages = model.stages[point]
    inputs = {
        "model": model.digest,
        "point": point.name,
        "states": {name: state_digest(stage.module) for name, stage in stages.items()},
        "truth": truth.name if truth else "",
        "torch": torch.__version__,
    }

    def make(folder: Path) -> None:
        driver = model.driver_module
        modules = {name: _TorchEngine(stage) for name, stage in stages.items()}
        recorder = Recorder(lambda x: driver.answer(modules, x), _batch(stages, driver))
        scores = _evaluate(model, recorder, truth)
        _save(folder, recorder.inputs, recorder.outputs, scores)

    return store.produce("reference", inputs, make)[0]


def _verify(
    model: SourceModel,
    variant: Variant,
    reference: Path,
    truth: Path | None,
    threads: int,
    folder: Path,
) -> None:
    driver = model.driver_module
    engines = {stage: engine.load(threads) for stage, engine in variant.engines.items()}
    try:
        recorder = Recorder(lambda x: driver.answer(engines, x))
        scores = _evaluate(model, recorder, truth)
    finally:
        for engine in engines.values():
            engine.close()
    _, expected, expected_scores = load_answers(reference / ANSWERS)
    quality = _compare(recorder.outputs, expected, scores, expected_scores, str(variant))
    _save(folder, {}, recorder.outputs, scores)
    (folder / QUALITY).write_text(json.dumps(plain(quality)))


def _evaluate(model: SourceModel, recorder: Recorder, truth: Path | None) -> np.ndarray:
    """Scores by the model's own metric; without one, agreement with its most expensive point.

    One per sample, or a single one if the metric knows no samples.
    """
    if model.can_evaluate:
        scores = model.evaluate(recorder)
        return scores if len(scores) == recorder.count else scores.mean(keepdims=True)
    for batch in model.calibration():
        recorder(batch)
    answers = recorder.outputs
    expected = load_answers(truth / ANSWERS)[1] if truth else answers
    agreeing = [_agree(answers[name], expected[name]) for name in answers]
    return np.min(agreeing, axis=0)


def _agree(answers: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Per sample, the share of positions where the largest value stands in the same place."""
    same = answers.argmax(-1) == expected.argmax(-1)
    return same.reshape(len(same), -1).mean(1)


def _compare(
    actual: Answers, expected: Answers, scores: np.ndarray, wanted: np.ndarray, where: str
) -> Quality:
    differences, agreement = [], 1.0
    for name, truth in expected.items():
        answer = actual[name]
        if answer.shape != truth.shape or not np.isfinite(answer).all():
            raise EngineError(f"{where}: output {name!r} is not finite or of the wrong shape")
        scale = max(float(np.abs(truth).max()), 1e-6)
        differences.append(np.abs(answer.astype(np.float64) - truth).ravel() / scale)
        agreement = min(agreement, float(_agree(answer, truth).mean()))
    errors = np.concatenate(differences)
    return Quality(
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        agreement=agreement,
        score=float(scores.mean()),
        reference_score=float(wanted.mean()),
        samples=len(next(iter(actual.values()))),
        margin=paired.margin(scores, wanted) if len(scores) == len(wanted) else None,
    )


@dataclass(frozen=True)
class _TorchEngine:
    """A stage of the source model, called as an engine is."""

    stage: Stage

    def __call__(self, inputs: Arrays) -> Answers:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
        with torch.no_grad():
            answer = self.stage.module(**tensors)
        named = {"output": answer} if isinstance(answer, torch.Tensor) else answer
        return {name: tensor.numpy() for name, tensor in named.items()}

    def close(self) -> None:
        pass


def _batch(stages: Mapping[str, Stage], driver: Driver) -> int | None:
    """None if the torch modules answer a batch as they answer its samples one by one, else 1."""
    modules = {name: _TorchEngine(stage) for name, stage in stages.items()}
    first = next(iter(stages.values()))
    generator = np.random.default_rng(0)
    pair = {
        name: generator.standard_normal((2, *tensor.shape[1:])).astype(tensor.numpy().dtype)
        for name, tensor in first.inputs.items()
    }
    try:
        both = driver.answer(modules, pair)
        single = driver.answer(modules, {name: array[1:] for name, array in pair.items()})
        same = all(np.allclose(both[k][1:], single[k], rtol=1e-3, atol=1e-4) for k in single)
    except Exception:  # a static module may fail on a batch in any way
        return 1
    return None if same else 1


def _joined(parts: list[Answers]) -> Answers:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _save(folder: Path, inputs: Answers, outputs: Answers, scores: np.ndarray) -> None:
    named = {f"in_{name}": array for name, array in inputs.items()}
    named |= {f"out_{name}": array for name, array in outputs.items()}
    count = len(next(iter(outputs.values())))
    arrays.save(folder / ANSWERS, {"scores": np.resize(scores, count), **named})
