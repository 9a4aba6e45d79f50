"""The report page: what a bundle holds and what it was measured to do, in one offline file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elastiq import __version__
from elastiq.errors import missing
from elastiq.latency import MEMORY, LatencyTable
from elastiq.manifest import Manifest
from elastiq.records import EngineRecord, PointRecord
from profiles import layers, replayed
from profiles.charts import Mark, Series, chart

TEMPLATE = "report.html.j2"
Z95 = 1.96


def render(
    manifest: Manifest,
    table: LatencyTable,
    replay: Mapping[str, Any] | None = None,
    sensitivity: layers.Found = (),
) -> str:
    """The page as HTML. `replay` is what `elastiq replay --json` prints."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as e:
        raise missing("jinja2", "compile") from e
    environment = Environment(
        loader=PackageLoader("profiles", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    under = table.under(MEMORY)
    return environment.get_template(TEMPLATE).render(
        version=__version__,
        manifest=manifest,
        table=table,
        loads=table.loads,
        measured=table.at,
        memory_loads=under.loads[1:],
        under_memory=under.at,
        energy=_energy(table),
        footprint_chart=_footprints(manifest, table),
        accuracy_chart=chart(_accuracy(manifest, table), _times(table), "score, %"),
        load_chart=chart(
            _against_load(manifest, table), "load from other programs, %", "latency, ms (p99)"
        ),
        size=sum(file.size for file in manifest.files.values()),
        replay=replay,
        replay_chart=replayed.picture(replay) if replay else "",
        layer_columns=layers.columns(sensitivity),
        layer_rows=layers.rows(sensitivity),
        layer_chart=layers.picture(sensitivity) if sensitivity else "",
        page_css=(Path(__file__).parent / "report.css").read_text(),
    )


def _times(table: LatencyTable) -> str:
    return f"latency, ms ({'median' if table.measured else 'predicted'})"


def _accuracy(manifest: Manifest, table: LatencyTable) -> list[Series]:
    """One line per backend and precision, a dot per point: what accuracy costs."""
    if any(len(point.stages) > 1 for point in manifest.points):
        return [Series(manifest.name, [_total(point, table) for point in manifest.points])]
    kinds: dict[str, list[EngineRecord]] = {}
    for engine in manifest.engines:
        if engine.quality and engine.key in table.engines:
            kinds.setdefault(f"{engine.backend} {engine.precision}", []).append(engine)
    return [Series(kind, [_dot(e, table) for e in engines]) for kind, engines in kinds.items()]


def _dot(engine: EngineRecord, table: LatencyTable) -> Mark:
    assert engine.quality is not None
    score, samples = engine.quality.score, engine.quality.samples
    spread = Z95 * math.sqrt(max(score * (1 - score), 0.0) / samples)
    milliseconds = 1000 * table.at(engine.key, 0.0).p50
    return Mark(
        x=milliseconds,
        y=100 * score,
        label=f"{engine.point}: {100 * score:.2f} % in {milliseconds:.2f} ms",
        low=100 * (score - spread),
        high=100 * (score + spread),
    )


def _total(point: PointRecord, table: LatencyTable) -> Mark:
    """A point of several stages, which score together."""
    milliseconds, score = 1000 * table.of(point, 0.0).p50, 100 * point.score
    return Mark(milliseconds, score, f"{point.name}: {score:.2f} % in {milliseconds:.2f} ms")


def _against_load(manifest: Manifest, table: LatencyTable) -> Sequence[Series]:
    """One line per point, of the engines that it runs on: what load does to latency."""
    loads = table.loads
    lines = []
    for point in manifest.points:
        worst = [1000 * table.of(point, load).p99 for load in loads]
        marks = [
            Mark(100 * load, ms, f"{point.name} at {load:.0%}: {ms:.2f} ms")
            for load, ms in zip(loads, worst, strict=True)
        ]
        lines.append(Series(point.name, marks))
    return lines


def _energy(table: LatencyTable) -> dict[str, float]:
    """Joules per run of each engine on the idle device, where they were counted."""
    return {row.engine: row.energy for row in table.rows if row.energy is not None}


def _footprints(manifest: Manifest, table: LatencyTable) -> str:
    """A dot per point: what its engines add to memory, against the time to load them."""
    dots = []
    for point in manifest.points:
        found = [table.footprints.get(stage.engine) for stage in point.stages.values()]
        told = [(one.load_time, one.memory) for one in found if one and one.memory is not None]
        if len(told) == len(found):
            milliseconds = 1e3 * sum(seconds for seconds, _ in told)
            size = sum(memory for _, memory in told) / 1e6
            label = f"{point.name}: {size:.1f} MB, loaded in {milliseconds:.0f} ms"
            dots.append(Series(point.name, [Mark(milliseconds, size, label)]))
    return chart(dots, "time to load, ms", "memory, MB") if dots else ""
