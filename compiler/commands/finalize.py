"""`elastiq finalize`: finish, on the device, a bundle that was built elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from compiler.commands import options
from compiler.finalize import Finalized, Terms, finalize
from compiler.passes.profile import levels
from compiler.plan import check_output
from compiler.progress import Progress
from compiler.store import Store
from elastiq import manifest
from elastiq.errors import ElastiqError


@click.command(
    help="Finish BUNDLE on the device it is for: build the plans that only this device can build, "
    "hold every engine's answers against those it was verified with, measure what each costs here, "
    "and choose the fastest for each point. Run it again after a reboot, and it goes on.\n\n\b\n"
    "elastiq finalize vit.elastiq --build-memory 4\n"
    "elastiq finalize vit.elastiq -o finished.elastiq --loads 0,0.25,0.5,1"
)
@options.bundle
@click.option("-o", "--output", help="Another place for the finished bundle. [BUNDLE itself]")
@click.option("--build-seconds", type=float, default=3600.0, help="At most, per plan. [3600]")
@click.option("--build-memory", type=float, default=0.0, help="GiB at most, per plan. [all]")
@options.loads
@options.memory_loads
@click.option("--profile-seconds", type=float, default=2.0, help="At most, per engine and load.")
@click.option(
    "--trial",
    metavar="SM",
    default="",
    help="Without the device: make its plans with TensorRT for RTX, for a GPU of this capability "
    "(SM89), to see whether they can be made. Nothing is run. Exit code 1 if one could not be.",
)
@options.as_json
def command(
    bundle: str,
    output: str | None,
    build_seconds: float,
    build_memory: float,
    loads: tuple[float, ...],
    memory_loads: tuple[float, ...],
    profile_seconds: float,
    trial: str,
    as_json: bool,
) -> None:
    path = Path(bundle)
    out = Path(output) if output else path
    if path.is_file() and not output:
        raise ElastiqError(f"{bundle} is an archive: name the finished bundle with --output")
    if trial and not output:
        raise ElastiqError("a trial's plans are for no device: name another bundle with --output")
    check_output(out)
    found = manifest.read(path) if path.is_dir() else None
    engines = len(found.engines) if found else 0
    at = loads or (0.0, 0.5, 1.0), memory_loads or (1.0,)
    terms = Terms(build_seconds, build_memory, trial, *at, profile_seconds)
    steps = engines * (2 + len(levels(*at))) + 2
    with Progress(steps, silent=as_json) as progress:
        done = finalize(path, out, terms, Store.default(), progress)
    click.echo(json.dumps(_as_dict(done), indent=1) if as_json else _as_text(done))
    if trial and done.failures:
        sys.exit(1)


def _as_dict(done: Finalized) -> dict[str, Any]:
    return {
        "bundle": str(done.output),
        "engines": {
            engine.key: {"compiled": engine.compiled, "executed": engine.executed}
            for engine in done.manifest.engines
        },
        "toolchain": done.manifest.toolchain,
        "errors": dict(done.errors),
        "choices": _choices(done),
        "failures": list(done.failures),
    }


def _choices(done: Finalized) -> dict[str, str]:
    return {point.name: next(iter(point.stages.values())).why for point in done.manifest.points}


def _as_text(done: Finalized) -> str:
    if not any(engine.executed for engine in done.manifest.engines):
        made = sorted(set(done.manifest.toolchain.values()))
        lines = [f"compiled, not executed, by {', '.join(made)}"]
    else:
        lines = [f"{point}: {why}" for point, why in _choices(done).items()]
    return "\n".join([*done.failures, *lines, f"wrote {done.output}"])
