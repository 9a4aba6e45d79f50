"""`elastiq diff`: what became slower, less accurate or larger; for people, and for CI."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

import elastiq
from compiler.commands import options
from elastiq import digest, latency
from elastiq.errors import ElastiqError
from elastiq.latency import LatencyTable
from profiles import difference
from profiles.difference import Change

LIMITS = {"regression": "latency", "score": "score"}


@click.command(
    help="Compare two bundles, or two latency tables, point by point: BEFORE and AFTER. What lies "
    "inside the 95 % interval is no change to be seen.\n\n\b\n"
    "elastiq diff old.elastiq new.elastiq\n"
    "elastiq diff old.elastiq new.elastiq --fail-on regression=5% --fail-on score=0.5"
)
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@click.option(
    "--fail-on",
    multiple=True,
    help="Exit with 1 if a p50 grew by more than regression=5%, or a score fell by more than "
    "score=0.5 points, beyond doubt.",
)
@options.as_json
def command(before: str, after: str, fail_on: tuple[str, ...], as_json: bool) -> None:
    limits = dict(_limit(text) for text in fail_on)
    compare = _tables if Path(before).suffix == Path(after).suffix == ".json" else _bundles
    changes, remarks = compare(before, after)
    failed = [change for change in changes if _fails(change, limits)]
    if as_json:
        rows = [asdict(change) | {"verdict": change.verdict} for change in changes]
        told = {"changes": rows, "remarks": remarks, "failed": [c.name for c in failed]}
        click.echo(json.dumps(told, indent=1))
    else:
        click.echo("\n".join([*_lines(changes), *remarks]))
    if failed:
        click.echo(f"beyond the limit: {', '.join(c.name for c in failed)}", err=True)
        sys.exit(1)


def _bundles(before: str, after: str) -> tuple[list[Change], list[str]]:
    with elastiq.open(before) as old, elastiq.open(after) as new:
        tables = [b.table if b.measured or b.predicted else None for b in (old, new)]
        changes = list(difference.of_bundles(old.manifest, new.manifest, *tables))
        sizes = [sum(f.size for f in b.manifest.files.values()) / 1e6 for b in (old, new)]
        names = ([point.name for point in b.manifest.points] for b in (old, new))
        remarks = [*difference.only(*names), _size(*sizes)]
    return changes, remarks + _apart(*tables)


def _tables(before: str, after: str) -> tuple[list[Change], list[str]]:
    old, new = _read(before), _read(after)
    return list(difference.of_tables(old, new)), [
        *difference.only(old.engines, new.engines),
        *_apart(old, new),
    ]


def _read(path: str) -> LatencyTable:
    try:
        return latency.read(digest.parse(Path(path).read_bytes()), path)
    except (OSError, ValueError) as e:
        raise ElastiqError(f"{path} is no latency table: {e}") from e


def _apart(old: LatencyTable | None, new: LatencyTable | None) -> list[str]:
    """What makes a comparison of times worth little."""
    if old is None or new is None:
        return ["latencies were not compared: one side was measured nowhere"]
    if old.measured != new.measured:
        side = "the first" if new.measured else "the second"
        return [f"latencies were not compared: those of {side} are predicted, not measured"]
    if not old.measured:
        return ["latencies are predicted on both sides: nobody measured that they changed"]
    if old.device != new.device:
        return [f"times are of two devices: {old.device}, and then {new.device}"]
    return []


def _size(before: float, after: float) -> str:
    return f"size {before:.1f} MB, then {after:.1f} MB ({100 * (after / before - 1):+.1f} %)"


def _lines(changes: list[Change]) -> list[str]:
    width = max((len(change.name) for change in changes), default=0)
    return [f"{change.name:<{width}}  {_cells(change)}" for change in changes]


def _cells(change: Change) -> str:
    unit, of = ("ms", "%") if change.kind == "latency" else ("%", "points")
    sure = "" if change.margin is None else f" ± {change.margin:.1f}"
    return (
        f"{change.before:>8.2f} {unit:<2} {change.after:>8.2f} {unit:<2} "
        f"{change.change:>+7.1f}{sure} {of}  {change.verdict}"
    )


def _fails(change: Change, limits: dict[str, float]) -> bool:
    limit = limits.get(change.kind)
    return limit is not None and change.verdict == difference.WORSE and abs(change.change) > limit


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        limit = float(value.removesuffix("%"))
    except ValueError:
        limit = -1.0
    if name not in LIMITS or not limit >= 0:
        raise ElastiqError(f"{text!r} is no limit. Write regression=5% or score=0.5")
    return LIMITS[name], limit
