"""Finalize: what only the device can do. Plans are made, and engines run, measured and chosen.

The bundle stays as it is until all of that is done, and is then replaced at once. What was made
before a power cut is found again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import elastiq
from compiler.children import Died, children
from compiler.drafts import drafted
from compiler.passes.profile import levels, profile
from compiler.passes.weigh import weigh
from compiler.progress import Progress
from compiler.store import Store
from elastiq import cache, digest, latency, manifest, plugins, samples
from elastiq.bundle import SAMPLES, WEIGHTS, Bundle
from elastiq.errors import ElastiqError
from elastiq.footprint import Place
from elastiq.goldens import TOLERANCE, largest_error
from elastiq.latency import LatencyTable
from elastiq.manifest import FileRecord, Manifest
from elastiq.protocols import Engine
from elastiq.records import EngineRecord, PointRecord, StageRecord, TensorSpec
from elastiq.tensorrt import Help
from profiles import export
from profiles.choice import Candidate, Choice, choose

DEVICES_OWN = "tensorrt"  # makes plans for the GPU that is here,
TRIAL = "tensorrt_rtx"  # and this one for GPUs that are not
TIMINGS = "timings"  # of kernels: kept between plans, in the device's cache
GIB = 2**30


@dataclass(frozen=True)
class Terms:
    """On what terms plans are made and engines measured."""

    seconds: float = 3600.0  # at most, per plan
    memory: float = 0.0  # GiB at most; 0: as much as there is
    trial: str = ""  # the capability of a GPU that is not here: plans are made, nothing runs
    loads: tuple[float, ...] = (0.0, 0.5, 1.0)
    memory_loads: tuple[float, ...] = (1.0,)
    profile_seconds: float = 2.0


@dataclass(frozen=True)
class Finalized:
    """What became of a bundle."""

    output: Path
    manifest: Manifest
    errors: Mapping[str, float] = field(default_factory=dict)  # by point, backend and precision
    failures: tuple[str, ...] = ()


def finalize(path: Path, output: Path, terms: Terms, store: Store, progress: Progress) -> Finalized:
    """Write the bundle of `path` as this device finishes it to `output`, which may be the same."""
    with elastiq.open(path) as opened, drafted(output) as draft:
        with progress.task(f"check {path}"):
            opened.check()
        shutil.copytree(opened.path, draft, dirs_exist_ok=True)
        made, failures = _make_plans(draft, opened.manifest, terms, progress)
        _seal(draft, made)
        if terms.trial:
            return Finalized(output, made, failures=tuple(failures))
        with elastiq.open(draft) as bundle:
            held, errors, wrong = _held(bundle, progress)
        with elastiq.open(draft) as bundle:
            table = _measured(bundle, held, terms, store, progress)
        choices = choose([v.candidate for v in held], table, made.accuracy_drop)
        made = _chosen(made, held, choices)
        _seal(draft, made, table)
    return Finalized(output, made, errors, (*failures, *wrong))


def _make_plans(
    draft: Path, found: Manifest, terms: Terms, progress: Progress
) -> tuple[Manifest, list[str]]:
    """The manifest without the engines that could not be made, and why they could not."""
    toolchain = dict(found.toolchain)
    records, failures = [], []
    for record in found.engines:
        tried = terms.trial and record.runner == DEVICES_OWN
        runner: Any = plugins.load("elastiq.runners", TRIAL if tried else record.runner, "runner")
        if not hasattr(runner, "finish") or (terms.trial and not tried):
            records.append(record)
            continue
        toolchain[record.backend] = runner.toolchain(terms.trial)
        with progress.task(f"build {record.key}") as task:
            try:
                records.append(_finished(record, runner, draft, terms))
            except (Died, ElastiqError) as e:
                task.note = str(e)
                failures.append(f"{record.key}: {e}")
                if terms.trial:  # which only tells: the bundle keeps what it had
                    records.append(record)
                else:
                    shutil.rmtree(draft / record.folder)
    _check_points(found, records, failures)
    return replace(found, engines=tuple(records), toolchain=toolchain), failures


def _finished(record: EngineRecord, runner: Any, draft: Path, terms: Terms) -> EngineRecord:
    timings = cache.folder() / f"{TIMINGS}-{digest.of_value(runner.toolchain(terms.trial))[:16]}"
    timings.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    help = Help(int(terms.memory * GIB), timings)
    weights = children("finalize", terms.memory).call(
        runner.finish, draft / record.folder, draft / WEIGHTS, help, terms.trial,
        seconds=terms.seconds,
    )  # fmt: skip
    return replace(record, compiled=True, weights=tuple(sorted({*record.weights, *weights})))


def _check_points(
    found: Manifest, records: Sequence[EngineRecord], failures: Sequence[str]
) -> None:
    for point in found.points:
        if not list(_variants(point, records)):
            raise ElastiqError(f"no engine of {point.name} could be built: {'; '.join(failures)}")


@dataclass(frozen=True)
class _Variant:
    """A point as it would be with the engines of one backend at one precision."""

    point: PointRecord
    candidate: Candidate

    def __str__(self) -> str:
        return f"{self.point.name} {self.candidate}"


def _variants(point: PointRecord, records: Sequence[EngineRecord]) -> list[_Variant]:
    """All that a point could be made of: the engines that were chosen, and their like."""
    by_key = {record.key: record for record in records}
    found = []
    for backend, precision in dict.fromkeys((r.backend, r.precision) for r in records):
        keys = {
            stage: "/".join([*record.engine.split("/")[:2], backend, precision])
            for stage, record in point.stages.items()
        }
        if not all(key in by_key for key in keys.values()):
            continue
        quality = by_key[next(iter(keys.values()))].quality
        assert quality is not None  # engines are verified, here or by their graphs
        runs = dict.fromkeys(keys.values(), 0.0)
        for way in point.ways():
            for stage, count in way.runs.items():
                runs[keys[stage]] += way.share * count
        stages = {stage: replace(point.stages[stage], engine=key) for stage, key in keys.items()}
        candidate = Candidate(point.name, tuple(runs.items()), backend, precision, quality)
        found.append(_Variant(replace(point, stages=stages), candidate))
    return found


def _held(bundle: Bundle, progress: Progress) -> tuple[list[_Variant], dict[str, float], list[str]]:
    """The variants whose answers are those that were verified, all errors, and what is wrong."""
    golden = bundle.samples()
    held, errors, wrong = [], {}, []
    for point in bundle.manifest.points:
        for variant in _variants(point, bundle.manifest.engines):
            with progress.task(f"verify {variant}") as task:
                name = samples.at(point.name, variant.candidate.precision)
                expected = golden.outputs.get(name, golden.outputs[point.name])
                try:
                    error = errors[str(variant)] = largest_error(bundle, variant.point, expected)
                    said = "" if error <= TOLERANCE else f"it answers otherwise here: {error:.2g}"
                except ElastiqError as e:
                    said = str(e)
                task.note = said
            if said:
                wrong.append(f"{variant}: {said}")
            else:
                held.append(variant)
    for point in bundle.manifest.points:
        if not any(variant.point.name == point.name for variant in held):
            raise ElastiqError(f"no engine of {point.name} runs here: {'; '.join(wrong)}")
    return held, errors, wrong


@dataclass(frozen=True)
class _Engine:
    """An engine of the bundle, as measuring sees it."""

    bundle: Bundle
    record: EngineRecord
    inputs: tuple[TensorSpec, ...]

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def identity(self) -> str:
        names = [n for n in self.bundle.manifest.files if n.startswith(f"{self.record.folder}/")]
        return digest.of_value([self.bundle.manifest.files[name].sha256 for name in names])

    def load(self, threads: int) -> Engine:
        return self.bundle.load_engine(self.key)

    def place(self, threads: int) -> Place:
        folders = str(self.bundle.path / self.record.folder), str(self.bundle.path / WEIGHTS)
        return Place(self.record.runner, *folders, self.inputs, threads)


def _measured(
    bundle: Bundle, held: list[_Variant], terms: Terms, store: Store, progress: Progress
) -> LatencyTable:
    """The latency table of this device."""
    by_key = {record.key: record for record in bundle.manifest.engines}
    engines = {
        stage.engine: _Engine(bundle, by_key[stage.engine], stage.inputs)
        for variant in held
        for stage in variant.point.stages.values()
    }
    there, seconds, threads = tuple(engines.values()), terms.profile_seconds, bundle.threads
    at = levels(terms.loads, terms.memory_loads)
    table = profile(there, at, seconds, threads, store, progress)
    return replace(table, footprints=weigh(there, threads, store, progress))


def _chosen(made: Manifest, held: Sequence[_Variant], choices: Mapping[str, Choice]) -> Manifest:
    points = []
    for point in made.points:
        choice = choices[point.name]
        (variant,) = (v for v in held if v.candidate == choice.candidate)
        stages: dict[str, StageRecord] = {
            name: replace(stage, why=choice.why) for name, stage in variant.point.stages.items()
        }
        points.append(replace(point, stages=stages, score=choice.candidate.quality.score))
    ran = {key for variant in held for key in variant.candidate.keys}
    engines = (replace(e, executed=e.executed or e.key in ran) for e in made.engines)
    return replace(made, points=tuple(points), engines=tuple(engines))


def _seal(draft: Path, made: Manifest, table: LatencyTable | None = None) -> None:
    """Write what changed into the draft, and the manifest with every file's digest."""
    if table is not None:
        precisions = {
            point.name: next(iter(point.stages.values())).engine.split("/")[-1]
            for point in made.points
        }
        chosen = samples.load(draft / SAMPLES).choose(precisions)
        (draft / SAMPLES).unlink()
        chosen.save(draft / SAMPLES)
        (draft / "profiles").mkdir(exist_ok=True)
        for path in (draft / "profiles").glob("*.json"):
            if not latency.read(digest.parse(path.read_bytes()), path.name).measured:
                path.unlink()  # it was there until somebody knew better
        path = draft / "profiles" / f"{table.device}.json"
        digest.write_atomically(path, export.to_json(table))
    files = {
        path.relative_to(draft).as_posix(): FileRecord(digest.of_file(path), path.stat().st_size)
        for path in sorted(draft.rglob("*"))
        if path.is_file() and path.name != manifest.FILE
    }
    digest.write_atomically(draft / manifest.FILE, replace(made, files=files).to_json())
