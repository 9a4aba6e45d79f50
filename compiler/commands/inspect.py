"""`elastiq inspect`: what is in a bundle."""

from __future__ import annotations

import json
from typing import Any

import click

import elastiq
from compiler.commands import options
from elastiq.bundle import Bundle
from elastiq.codec import plain


@click.command(
    help="Show the points, engines, latencies and sizes in BUNDLE.\n\n\b\n"
    "elastiq inspect perceiver.elastiq"
)
@options.bundle
@options.as_json
def command(bundle: str, as_json: bool) -> None:
    with elastiq.open(bundle) as opened:
        if as_json:
            click.echo(json.dumps(_as_dict(opened), indent=1))
        else:
            click.echo(_as_text(opened))


def _as_dict(bundle: Bundle) -> dict[str, Any]:
    return {
        "manifest": plain(bundle.manifest),
        "table": plain(bundle.table) if bundle.measured else None,
    }


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
        for stage in point.stages.values():
            lines.append(
                f"{point.name:<16}{100 * point.score:>9.2f}{_latency(bundle, stage.engine)}"
                f"  {stage.engine}"
            )
    return "\n".join(lines)


def _where(bundle: Bundle) -> str:
    if bundle.measured:
        return f"measured on {bundle.table.device}, {bundle.manifest.threads} thread(s) per engine"
    return "compiled and not executed: scores are those of the graphs, latencies are unknown"


def _latency(bundle: Bundle, engine: str) -> str:
    if not bundle.measured:
        return f"{'?':>9}{'?':>9}"
    latency = bundle.table.at(engine, 0.0)
    return f"{1000 * latency.p50:>9.2f}{1000 * latency.p99:>9.2f}"
