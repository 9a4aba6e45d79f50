"""Runs benchmarks, writes what they measured to benchmarks/results and docs/benchmarks.md."""

from __future__ import annotations

import importlib
import sys

import click

from benchmarks import page
from benchmarks.harness import publish

ALL = (
    "elasticity",
    "families",
    "quantization",
    "ranges",
    "precision",
    "backends",
    "builds",
    "tuning",
    "tables",
    "dispatch",
    "promise",
    "changes",
    "foresight",
    "clumps",
    "burst",
    "footprint",
    "overhead",
)


@click.command(
    help=f"{__doc__}\n\nExit code 1 if a goal fails.\n\n\b\npython -m benchmarks overhead"
)
@click.argument("names", nargs=-1, type=click.Choice(ALL))
def main(names: tuple[str, ...]) -> None:
    held = [
        publish(name, importlib.import_module(f"benchmarks.{name}").run()) for name in names or ALL
    ]
    page.write(ALL)
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
