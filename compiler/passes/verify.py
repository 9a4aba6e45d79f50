"""Verify: every engine's answers, on the evaluation samples, against those of the source model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import torch

from calibration.data import prepare
from compiler import eager
from compiler.answering import Answering, Manner, Way, in_turn, joined
from compiler.batches import Batched, alone
from compiler.passes.compile import BuiltEngine, Failure
from compiler.progress import Progress
from compiler.source import SourceModel, state_digest
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq import arrays
from elastiq.codec import decode, plain
from elastiq.drivers import Ready, Run
from elastiq.errors import ElastiqError, EngineError
from elastiq.protocols import Arrays
from elastiq.records import Point, Quality, Route
from profiles import paired
from profiles.choice import FULL_PRECISION, Candidate, refusal

REVISION = 4  # of what this pass finds in the same model and engines
ANSWERS = "answers.npz"
SHIPPED = 256  # samples whose inputs are kept, to travel with the bundle
QUALITY = "quality.json"
ROUTES = "routes.json"
REHEARSED = 4  # requests whose every stage is held against torch's
TIPS = 0.01  # of the samples: where stages decide, rounding may tip a decision for another answer
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
    routes: tuple[Route, ...] = ()  # that the samples took through the stages
    note: str = ""  # what was given back, or tried, for the accuracy budget
    executed: bool = True  # False: the answers are those of another engine of the same graph

    @property
    def candidate(self) -> Candidate:
        """The same, as choosing sees it."""
        variant = self.variant
        means = {built.key: 0.0 for built in variant.engines.values()}
        for route in self.routes:
            for stage, count in route.runs.items():
                means[variant.engines[stage].key] += route.share * count
        return Candidate(
            variant.point.name,
            tuple(sorted(means.items())),
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
    """Passes batches of samples on. Keeps what came out, and the first of what went in."""

    def __init__(self, answer: Callable[[Arrays], Answers]) -> None:
        self._answer = answer
        self._inputs: list[Answers] = []
        self._kept = 0
        self._outputs: list[Answers] = []

    def __call__(self, inputs: Arrays) -> Answers:
        outputs = self._answer(inputs)
        if self._kept < SHIPPED:
            room = SHIPPED - self._kept
            self._inputs.append({name: np.array(array[:room]) for name, array in inputs.items()})
            self._kept += min(room, len(next(iter(inputs.values()))))
        self._outputs.append(outputs)
        return outputs

    @property
    def inputs(self) -> Answers:
        return joined(self._inputs)

    @property
    def outputs(self) -> Answers:
        return joined(self._outputs)

    @property
    def count(self) -> int:
        return len(next(iter(self.outputs.values())))


def verify(
    model: SourceModel,
    engines: tuple[BuiltEngine, ...],
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
    reserve: tuple[BuiltEngine, ...] = (),
) -> Findings:
    """How every point's engines answer, per backend and precision, beside the source model. Those
    in reserve are asked only where none at full precision holds."""
    truth = None if model.can_evaluate else _reference(model, model.points[-1], None, store)
    references: dict[Point, Path] = {}
    verified: list[Verified] = []
    failures: list[Failure] = []
    first = group(engines)
    for variant in (*first, *group(reserve)):
        if variant not in first and _holds(variant.point, verified):
            continue
        with progress.task(f"verify {variant}") as task:
            if variant.point not in references:
                references[variant.point] = _reference(model, variant.point, truth, store)
            reference = references[variant.point]
            inputs = {
                "engines": {stage: e.folder.name for stage, e in variant.engines.items()},
                "reference": reference.name,
                "device": plain(workshop.device),
                "threads": threads,
                "revision": REVISION,
            }
            make = partial(_verify, model, variant, reference, truth, threads, workshop)
            try:
                entry, task.cached = store.produce("verify", inputs, make)
            except EngineError as e:
                task.note = str(e)
                failures.append(_failure(variant, e))
                continue
        quality = decode(Quality, json.loads((entry / QUALITY).read_text()), QUALITY)
        routes = decode(tuple[Route, ...], json.loads((entry / ROUTES).read_text()), ROUTES)
        verified.append(Verified(variant, quality, entry / ANSWERS, reference / ANSWERS, routes))
    for point in {engine.graph.point for engine in engines} - {v.variant.point for v in verified}:
        raise ElastiqError("; ".join(str(f) for f in failures if f.point == point.name))
    return Findings(tuple(verified), tuple(failures))


def _holds(point: Point, verified: Sequence[Verified]) -> bool:
    """Whether an engine at full precision was found to answer rightly there."""
    return any(
        found.variant.point == point
        and found.variant.precision == FULL_PRECISION
        and not refusal(found.candidate, inf)
        for found in verified
    )


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


def share(verified: tuple[Verified, ...]) -> tuple[Verified, ...]:
    """The same, with engines that are one entry in the store under one name: the first that it had.

    So a module that several points have in common is one engine on the device.
    """
    first: dict[Path, str] = {}
    shared = []
    for found in verified:
        engines = {
            stage: replace(built, shared=first.setdefault(built.folder, built.key))
            for stage, built in found.variant.engines.items()
        }
        shared.append(replace(found, variant=replace(found.variant, engines=engines)))
    return tuple(shared)


def load_answers(path: Path) -> tuple[Answers, Answers, np.ndarray]:
    """Inputs, outputs and scores of the evaluation samples."""
    found = arrays.load(path)
    inputs = {name[3:]: array for name, array in found.items() if name.startswith("in_")}
    outputs = {name[4:]: array for name, array in found.items() if name.startswith("out_")}
    return inputs, outputs, found["scores"]


def _reference(model: SourceModel, point: Point, truth: Path | None, store: Store) -> Path:
    """What torch answers at a point: what that point's engines are held against. One for all sizes
    of a batch, which answer each request as it would be alone."""
    stages = model.stages[point]
    inputs = {
        "model": model.digest,
        "point": (alone(point) if model.driver_name == Batched.driver else point).name,
        "states": {name: state_digest(stage.module) for name, stage in stages.items()},
        "truth": truth.name if truth else "",
        "revision": REVISION,
        "torch": torch.__version__,
    }

    def make(folder: Path) -> None:
        recorder = Recorder(_in_torch(model, point))
        scores = _evaluate(model, recorder, truth)
        _save(folder, recorder.inputs, recorder.outputs, scores)

    return store.produce("reference", inputs, make)[0]


def _in_torch(model: SourceModel, point: Point) -> Callable[[Arrays], Answers]:
    """The source model, for batches: answered whole where that changes nothing."""
    ready = eager.ready(model, point)
    if not model.driver.MIXES:
        ready = replace(ready, takes=1)
    if _batches(model, point, ready):
        return lambda inputs: model.driver.answer(Run(ready), [inputs])[0]
    return partial(in_turn, lambda run: model.driver.answer(Run(ready), run), takes=ready.takes)


def _verify(
    model: SourceModel,
    variant: Variant,
    reference: Path,
    truth: Path | None,
    threads: int,
    workshop: Workshop,
    folder: Path,
) -> None:
    point = variant.point
    settings, takes = dict(point.settings), model.takes(point)
    manner = Manner(model.driver_name, model.driver_settings, settings, takes, threads)
    answering = workshop.load(variant.engines, manner)
    seen: Counter[Way] = Counter()

    def answer(inputs: Arrays) -> Answers:
        answers, ways = answering.answer(inputs)
        seen.update(ways)
        return answers

    try:
        recorder = Recorder(answer)
        scores = _evaluate(model, recorder, truth)
        apart = _stages_apart(model, variant, answering) if len(variant.engines) > 1 else 0.0
    finally:
        answering.close()
    _, expected, expected_scores = load_answers(reference / ANSWERS)
    tips = TIPS if len(variant.engines) > 1 else 0.0
    quality = _compare(recorder.outputs, expected, scores, expected_scores, str(variant), tips)
    quality = replace(quality, max_error=max(quality.max_error, apart))
    _save(folder, {}, recorder.outputs, scores)
    (folder / QUALITY).write_text(json.dumps(plain(quality)))
    (folder / ROUTES).write_text(json.dumps(plain(_routes(seen))))


def _routes(seen: Counter[Way]) -> tuple[Route, ...]:
    """The ways that requests took, the most common first."""
    whole = seen.total()
    return tuple(Route(count / whole, dict(way)) for way, count in seen.most_common())


def _stages_apart(model: SourceModel, variant: Variant, answering: Answering) -> float:
    """The largest error of a stage alone, on what torch's earlier stages feed it.

    Not every stage has its part in the evaluation: what the second of twelve glimpses is answered
    is not seen in the answer to all twelve.
    """
    where = f"{model.spec} at {variant.point}"
    requests = prepare(
        model.calibration(REHEARSED), model.request(variant.point), REHEARSED, where
    ).feeds
    worst = 0.0
    for stage, calls in eager.rehearse(model, variant.point, requests).items():
        answers = answering.feed(stage, [fed for fed, _ in calls])
        for answer, (_, expected) in zip(answers, calls, strict=True):
            for name, truth in expected.items():
                (errors,) = _errors({name: answer[name]}, {name: truth}, f"{variant} {stage}")
                worst = max(worst, float(errors.max()))
    return worst


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
    actual: Answers,
    expected: Answers,
    scores: np.ndarray,
    wanted: np.ndarray,
    where: str,
    tips: float,
) -> Quality:
    found = _errors(actual, expected, where)
    errors = np.concatenate([one.ravel() for one in found])
    worst = np.max([one.reshape(len(one), -1).max(1) for one in found], axis=0)  # of each sample
    agreement = min(float(_agree(actual[name], truth).mean()) for name, truth in expected.items())
    return Quality(
        max_error=float(np.quantile(worst, 1.0 - tips, method="higher")),
        mean_error=float(errors.mean()),
        agreement=agreement,
        score=float(scores.mean()),
        reference_score=float(wanted.mean()),
        samples=len(next(iter(actual.values()))),
        margin=paired.margin(scores, wanted) if len(scores) == len(wanted) else None,
    )


def _errors(actual: Answers, expected: Answers, where: str) -> list[np.ndarray]:
    """The errors of each output, in shares of its largest value."""
    found = []
    for name, truth in expected.items():
        answer = actual[name]
        if answer.shape != truth.shape or not np.isfinite(answer).all():
            raise EngineError(f"{where}: output {name!r} is not finite or of the wrong shape")
        scale = max(float(np.abs(truth).max()), 1e-6)
        found.append(np.abs(answer.astype(np.float64) - truth) / scale)
    return found


def _batches(model: SourceModel, point: Point, ready: Ready) -> bool:
    """Whether the torch modules answer a batch as they answer its samples one by one."""
    if ready.takes > 1:
        return False
    generator = np.random.default_rng(0)
    pair = {
        spec.name: generator.standard_normal((2, *spec.shape[1:])).astype(spec.dtype)
        for spec in model.request(point)
    }
    try:
        both, single = (
            model.driver.answer(Run(ready), [{name: array[first:] for name, array in pair.items()}])
            for first in (0, 1)
        )
        return all(
            len(both[0][name]) == 2
            and np.allclose(both[0][name][1:], single[0][name], rtol=1e-3, atol=1e-4)
            for name in single[0]
        )
    except Exception:  # a static module may fail on a batch in any way
        return False


def _save(folder: Path, inputs: Answers, outputs: Answers, scores: np.ndarray) -> None:
    named = {f"in_{name}": array for name, array in inputs.items()}
    named |= {f"out_{name}": array for name, array in outputs.items()}
    count = len(next(iter(outputs.values())))
    arrays.save(folder / ANSWERS, {"scores": np.resize(scores, count), **named})
