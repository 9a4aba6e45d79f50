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
    return {"manifest": plain(bundle.manifest), "table": plain(bundle.table)}


def _as_text(bundle: Bundle) -> str:
    manifest = bundle.manifest
    size = sum(file.size for file in manifest.files.values())
    lines = [
        f"{manifest.name} for {manifest.target}: {len(manifest.points)} points, "
        f"{len(manifest.engines)} engines, {size / 1e6:.1f} MB in {len(manifest.files)} files",
        f"measured on {bundle.table.device}, {manifest.threads} thread(s) per engine",
        "",
        f"{'point':<16}{'score %':>9}{'p50 ms':>9}{'p99 ms':>9}  engine",
    ]
    for point in manifest.points:
        for stage in point.stages.values():
            latency = bundle.table.at(stage.engine, 0.0)
            lines.append(
                f"{point.name:<16}{100 * point.score:>9.2f}{1000 * latency.p50:>9.2f}"
                f"{1000 * latency.p99:>9.2f}  {stage.engine}"
            )
    return "\n".join(lines)
