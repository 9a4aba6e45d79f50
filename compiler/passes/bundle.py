"""Bundle: everything a device needs, in one folder that appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compiler.drafts import drafted
from compiler.passes.budget import LayersOf
from compiler.passes.compile import BuiltEngine
from compiler.passes.verify import SHIPPED, Verified, load_answers
from compiler.plan import Plan, check_output
from compiler.source import SourceModel
from compiler.store import weights_of
from elastiq import archive, digest, manifest, samples
from elastiq.bundle import SAMPLES, SENSITIVITY, WEIGHTS
from elastiq.codec import plain
from elastiq.drivers import Remembering
from elastiq.errors import ElastiqError
from elastiq.latency import LatencyTable
from elastiq.manifest import FileRecord, Manifest
from elastiq.records import WHOLE, EngineRecord, PointRecord, Route, StageRecord
from elastiq.samples import Samples
from profiles import export, report
from profiles.choice import Choice
from targets.backends import backend

SAMPLES_BYTES = 4 << 20  # of evaluation samples in a bundle
LEAST_SAMPLES = 4
STORE_ONLY = shutil.ignore_patterns("entry.json", "weights.json")


def bundle(
    plan: Plan,
    verified: tuple[Verified, ...],
    choices: Mapping[str, Choice],
    table: LatencyTable | None,
    layers: tuple[LayersOf, ...] = (),
) -> Path:
    """Write the bundle beside its final place, then move it there."""
    out = plan.output
    check_output(out)  # it may have changed since the plan was made
    contents = _contents(plan, verified, choices, table, layers)
    with drafted(out) as draft:
        _fill(contents, draft)
    if plan.config.archive:
        archive.pack(out, plan.archive)
    return out


@dataclass(frozen=True)
class _Contents:
    plan: Plan
    chosen: dict[str, Verified]  # by point, cheapest first
    kept: tuple[Verified, ...]
    choices: Mapping[str, Choice]
    table: LatencyTable | None  # predicted, or none, where the engines cannot run here
    layers: tuple[LayersOf, ...]

    @property
    def measured(self) -> bool:
        return self.table is not None and self.table.measured

    @property
    def engines(self) -> list[tuple[BuiltEngine, Verified]]:
        """Each engine once, and whose it is, or the first that it is of."""
        found: dict[str, tuple[BuiltEngine, Verified]] = {}
        for verified in self.kept:
            for built in verified.variant.engines.values():
                found.setdefault(built.key, (built, verified))
        return list(found.values())


def _contents(
    plan: Plan,
    verified: tuple[Verified, ...],
    choices: Mapping[str, Choice],
    table: LatencyTable | None,
    layers: tuple[LayersOf, ...],
) -> _Contents:
    chosen = {}
    for point, choice in choices.items():
        chosen[point] = next(v for v in verified if v.candidate == choice.candidate)
    ran = table is not None and table.measured
    kept = tuple(chosen.values()) if ran and plan.config.keep != "all" else verified
    return _Contents(plan, chosen, kept, choices, table, layers)


def _fill(contents: _Contents, draft: Path) -> None:
    for built, _ in contents.engines:
        shutil.copytree(built.folder, draft / _engine_folder(built.key), ignore=STORE_ONLY)
        _copy_graph(built, draft)
        for name in (*built.weights, *weights_of(built.graph.path.parent)):
            _copy_weight(built.graph.weights / name, draft / WEIGHTS)
    _samples(contents).save(draft / SAMPLES)
    if contents.layers:
        sensitivity = json.dumps(plain(contents.layers), indent=1) + "\n"
        (draft / SENSITIVITY).write_text(sensitivity)
    if contents.table:
        _table(contents, contents.table, draft)
    (draft / manifest.FILE).write_bytes(_manifest(contents, _files(draft)).to_json())


def _table(contents: _Contents, table: LatencyTable, draft: Path) -> None:
    (draft / "profiles").mkdir()
    (draft / "profiles" / f"{table.device}.json").write_bytes(export.to_json(table))
    if not table.measured:
        return  # a page of it would be out of date as soon as the device has measured its own
    manifest_so_far = _manifest(contents, _files(draft))
    page = report.render(manifest_so_far, table, sensitivity=plain(contents.layers))
    (draft / "report.html").write_text(page)


def _files(draft: Path) -> dict[str, FileRecord]:
    return {
        path.relative_to(draft).as_posix(): FileRecord(digest.of_file(path), path.stat().st_size)
        for path in sorted(draft.rglob("*"))
        if path.is_file()
    }


def _manifest(contents: _Contents, files: dict[str, FileRecord]) -> Manifest:
    plan = contents.plan
    return Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        name=plan.model.name,
        driver=plan.model.driver_name,
        target=plan.target.name,
        metric=plan.model.metric,
        threads=plan.threads,
        points=tuple(
            _point(plan.model, v, contents.choices[name]) for name, v in contents.chosen.items()
        ),
        engines=tuple(_engine(built, verified) for built, verified in contents.engines),
        files=files,
        toolchain={name: backend(name).toolchain() for name in plan.backends},
        driver_settings=plan.model.driver_settings,
        accuracy_drop=plan.config.accuracy_drop,
    )


def _point(model: SourceModel, verified: Verified, choice: Choice) -> PointRecord:
    stages = {
        stage: StageRecord(built.graph.inputs, built.graph.outputs, built.key, choice.why)
        for stage, built in verified.variant.engines.items()
    }
    point, driver = verified.variant.point, model.driver
    routes = {WHOLE: verified.routes}
    if isinstance(driver, Remembering):
        steps = driver.steps(stages)
        routes |= {kind: (Route(1.0, runs),) for kind, runs in steps.items()}
    return PointRecord(
        name=point.name,
        settings=dict(point.settings),
        score=verified.quality.score,
        stages=stages,
        inputs=model.request(point),
        takes=model.takes(point),
        routes=routes,
    )


def _engine(built: BuiltEngine, verified: Verified) -> EngineRecord:
    point, stage, _, precision = built.key.split("/")
    return EngineRecord(
        point=point,
        stage=stage,
        backend=built.backend,
        precision=precision,
        runner=built.runner,
        folder=_engine_folder(built.key),
        weights=built.weights,
        executed=verified.executed,
        quality=verified.quality,
        settings=built.settings,
        compiled=verified.executed or not backend(built.backend).on_device,
    )


def _samples(contents: _Contents) -> Samples:
    first = next(iter(contents.chosen.values()))
    inputs, _, _ = load_answers(first.reference)
    count = _shipped(inputs)
    scores, outputs = {}, {}
    shipped = dict(contents.chosen)
    if not contents.measured:
        for verified in contents.kept:
            variant = verified.variant
            shipped.setdefault(samples.at(variant.point.name, variant.precision), verified)
    for name, verified in shipped.items():
        _, answers, marks = load_answers(verified.answers)
        scores[name] = marks[:count]
        outputs[name] = {key: array[:count] for key, array in answers.items()}
    return Samples({name: array[:count] for name, array in inputs.items()}, scores, outputs)


def _shipped(inputs: Mapping[str, np.ndarray]) -> int:
    """How many samples travel along: so many that they do not outweigh the engines."""
    each = sum(array[:1].nbytes for array in inputs.values())
    return max(LEAST_SAMPLES, min(SHIPPED, SAMPLES_BYTES // each))


def _engine_folder(key: str) -> str:
    point, stage, backend, precision = key.split("/")
    return f"engines/{backend}/{point}/{stage}/{precision}"


def _copy_graph(built: BuiltEngine, draft: Path) -> None:
    graph = built.graph
    point, stage, _, _ = built.key.split("/")
    target = draft / "graphs" / point / f"{stage}.{graph.precision}.onnx"
    if target.exists() and target.read_bytes() != graph.path.read_bytes():
        # One backend kept to the budget by giving layers back, which another need not do.
        target = target.with_suffix(f".{built.backend}.onnx")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(graph.path, target)


def _copy_weight(source: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    target = folder / source.name
    if target.exists():
        return
    shutil.copyfile(source, target)
    if digest.of_file(target) != source.name:
        source.unlink()
        raise ElastiqError(f"{source} was damaged in the store; it is removed. Build again.")
