"""What a build made, as text for people and as plain values for machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.pipeline import Build
from elastiq.codec import plain
from elastiq.latency import MEMORY, LatencyTable
from profiles.paired import drop


def as_dict(build: Build, absent: Mapping[str, str]) -> dict[str, Any]:
    """Everything a build made, ready for JSON, and the backends that could not take part."""
    return {
        "graphs": [
            {
                "point": graph.point.name,
                "stage": graph.stage,
                "precision": graph.precision,
                "path": str(graph.path),
            }
            for graph in build.graphs
        ],
        "engines": {engine.key: str(engine.folder) for engine in build.engines},
        "quality": {str(v.variant): plain(v.quality) for v in build.verified},
        "layers": plain(build.layers),
        "table": plain(build.table) if build.table else None,
        "choices": {point: choice.why for point, choice in (build.choices or {}).items()},
        "failures": plain(build.failures),
        "aside": list(build.aside),
        "absent": dict(absent),
        "bundle": str(build.output) if build.output else None,
    }


def as_text(build: Build, absent: Mapping[str, str]) -> str:
    """The last thing a build made, in a few lines, and the backends that could not take part."""
    lines = [f"without {name}: {why}" for name, why in absent.items()]
    return "\n".join([_made(build), *map(str, build.failures), *build.aside, *lines])


def _made(build: Build) -> str:
    if build.output:
        lines = [f"{point}: {choice.why}" for point, choice in (build.choices or {}).items()]
        return "\n".join([*lines, f"wrote {build.output}"])
    if build.table:
        if not build.table.measured:
            return "\n".join(_predicted(build.table))
        lines = [
            f"{row.engine} at {row.load:.0%} {'memory ' if row.pressure == MEMORY else ''}load: "
            f"p50 {1000 * row.latency.p50:.2f} ms, p99 {1000 * row.latency.p99:.2f} ms"
            + ("" if row.energy is None else f", {1000 * row.energy:.1f} mJ")
            + ("" if row.latency.stable else ", unstable")
            for row in build.table.rows
        ]
        lines += [
            f"{engine}: loaded in {1000 * found.load_time:.0f} ms"
            + ("" if found.memory is None else f", adds {found.memory / 1e6:.1f} MB")
            for engine, found in build.table.footprints.items()
        ]
        if build.table.bound is not None:
            off = f"{build.table.bound:.0%}"
            lines.append(
                f"a median between these loads: off by {off} at most, as inner levels left out"
            )
        return "\n".join(lines)
    if build.verified:
        return "\n".join(
            f"{v.variant}: score {v.quality.score:.4f} (source {v.quality.reference_score:.4f}), "
            f"{drop(v.quality)}, "
            f"error {v.quality.max_error:.2g}, top-1 agreement {v.quality.agreement:.4f}"
            for v in build.verified
        )
    if build.engines:
        return "\n".join(f"{engine.key}: {engine.folder}" for engine in build.engines)
    return "\n".join(f"{g.point} {g.stage} {g.precision}: {g.path}" for g in build.graphs)


def _predicted(table: LatencyTable) -> list[str]:
    told = f"PREDICTED, not measured: what {table.circumstances['data sheet of']} takes at least"
    return [told, *(f"{row.engine}: ~{1000 * row.latency.p50:.2f} ms" for row in table.rows)]
