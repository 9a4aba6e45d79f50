"""`elastiq inspect`: what is in a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import elastiq
from compiler.commands import options
from elastiq import footprint
from elastiq.bundle import Bundle
from elastiq.codec import plain
from elastiq.latency import Latency, LatencyTable
from elastiq.records import PointRecord


@click.command(
    help="Show the points, engines, latencies and sizes in BUNDLE.\n\n\b\n"
    "elastiq inspect perceiver.elastiq --memory"
)
@options.bundle
@click.option("--memory", is_flag=True, help="Measure, in fresh processes, what each point adds.")
@options.as_json
def command(bundle: str, memory: bool, as_json: bool) -> None:
    added = footprint.measure(Path(bundle)) if memory else {}
    with elastiq.open(bundle) as opened:
        if as_json:
            shown = _as_dict(opened) | ({"memory": added} if memory else {})
            click.echo(json.dumps(shown, indent=1))
        else:
            click.echo("\n".join([_as_text(opened), *_memory_as_text(added)]))


def _as_dict(bundle: Bundle) -> dict[str, Any]:
    return {
        "manifest": plain(bundle.manifest),
        "table": plain(bundle.table) if bundle.measured or bundle.predicted else None,
    }


def _memory_as_text(added: dict[str, int]) -> list[str]:
    if not added:
        return []
    return [
        "",
        f"{'point':<16}{'adds MB':>9}  (PSS; the first brings the runtime along)",
        *(f"{point:<16}{size / 1e6:>9.1f}" for point, size in added.items()),
        f"{'all':<16}{sum(added.values()) / 1e6:>9.1f}",
    ]


def _as_text(bundle: Bundle) -> str:
    manifest = bundle.manifest
    size = sum(file.size for file in manifest.files.values())
    lines = [
        f"{manifest.name} for {manifest.target}: {len(manifest.points)} points, "
        f"{len(manifest.engines)} engines, {size / 1e6:.1f} MB in {len(manifest.files)} files",
        _where(bundle),
        "",
        f"{'point':<16}{'score %':>9}{'p50 ms':>9}{'p99 ms':>9}  engine",
    ]
    for point in manifest.points:
        first, *others = point.stages.values()
        score = f"{point.name:<16}{100 * point.score:>9.2f}"
        if not others:
            lines.append(f"{score}{_latency(bundle, first.engine)}  {first.engine}")
            continue
        lines.append(f"{score}{_whole(bundle, point)}  all that a request needs")
        lines += [f"{'':<25}{_latency(bundle, s.engine)}  {s.engine}" for s in (first, *others)]
    return "\n".join(lines)


def _where(bundle: Bundle) -> str:
    if bundle.predicted:
        return (
            "compiled and not executed: scores are those of the graphs, times PREDICTED (~): the "
            f"least that {bundle.table.circumstances['data sheet of']} takes by its data sheet"
        )
    if bundle.measured:
        return f"measured on {bundle.table.device}, {bundle.manifest.threads} thread(s) per engine"
    return "compiled and not executed: scores are those of the graphs, latencies are unknown"


def _latency(bundle: Bundle, engine: str) -> str:
    return _cells(bundle, lambda table: table.at(engine, 0.0))


def _whole(bundle: Bundle, point: PointRecord) -> str:
    return _cells(bundle, lambda table: table.of(point, 0.0))


def _cells(bundle: Bundle, look: Callable[[LatencyTable], Latency]) -> str:
    if bundle.predicted:
        return f"{f'~{1000 * look(bundle.table).p50:.2f}':>9}{'?':>9}"
    if not bundle.measured:
        return f"{'?':>9}{'?':>9}"
    latency = look(bundle.table)
    return f"{1000 * latency.p50:>9.2f}{1000 * latency.p99:>9.2f}"
