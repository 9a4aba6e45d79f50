"""`elastiq replay`: traffic sent for real to the dispatcher and to each fixed point in turns."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import elastiq
from compiler.commands import options
from elastiq import device, digest, policies
from elastiq.arrivals import ARRIVALS, arrivals
from elastiq.bundle import Bundle
from elastiq.burner import Burner
from elastiq.outcomes import COLUMNS, Report, cells, ranked, table
from elastiq.replay import replay

SPOILT = 0.25  # of the deadline: a sender later than this has measured itself


@dataclass(frozen=True)
class Traffic:
    """What is sent: requests a second, and the seconds that each may take."""

    kind: str
    rate: float
    deadline: float
    seconds: float
    hog: float
    seed: int

    def __str__(self) -> str:
        hog = f", while others take {self.hog:.0%} of the CPU" if self.hog else ""
        return (
            f"{self.kind} arrivals, {self.rate:.1f} a second for {self.seconds:g} s, "
            f"deadline {1000 * self.deadline:.1f} ms{hog}"
        )


@click.command(
    help="Send the same traffic to BUNDLE's dispatcher and to each of its points alone, in turns, "
    "and compare what was answered rightly by its deadline.\n\n\b\n"
    "elastiq replay perceiver.elastiq -o burst.json\n"
    "elastiq replay perceiver.elastiq --arrivals poisson --rate 2 --hog 0.5"
)
@options.bundle
@click.option(
    "--arrivals", "kind", type=click.Choice(sorted(ARRIVALS)), default="step", show_default=True
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Mean rate, as a multiple of what the costliest point can do on the idle device.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Deadline, as a multiple of the costliest point's p50 on the idle device.",
)
@click.option(
    "--deadline-ms", type=click.FloatRange(0, min_open=True), help="Deadline in milliseconds."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Of traffic, for each contender.",
)
@click.option(
    "--hog",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the CPU that another program takes meanwhile.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--policy", type=click.Choice(policies.names()), default="utility", show_default=True)
@click.option("-o", "--output", type=click.Path(), help="Write the results there, as JSON.")
@options.as_json
def command(
    bundle: str,
    kind: str,
    rate: float,
    deadline: float,
    deadline_ms: float | None,
    seconds: float,
    hog: float,
    seed: int,
    policy: str,
    output: str | None,
    as_json: bool,
) -> None:
    with elastiq.open(bundle) as opened:
        costliest = opened.table.of(opened.manifest.points[-1], load=0.0)
        due = deadline * costliest.p50 if deadline_ms is None else deadline_ms / 1000
        capacity = opened.manifest.points[-1].takes / costliest.mean
        traffic = Traffic(kind, rate * capacity, due, seconds, hog, seed)
        reports = send(opened, policy, traffic)
    results = _as_dict(traffic, reports)
    if output:
        digest.write_atomically(Path(output), (json.dumps(results, indent=1) + "\n").encode())
    click.echo(json.dumps(results, indent=1) if as_json else _as_text(traffic, reports))


def send(bundle: Bundle, policy: str, traffic: Traffic) -> list[Report]:
    moments = arrivals(traffic.kind, traffic.rate, traffic.seconds, traffic.seed)
    with ExitStack() as stack:
        workers = {policy: stack.enter_context(bundle.serve(policy))} if policy != "fixed" else {}
        for point in bundle.manifest.points:
            workers[point.name] = stack.enter_context(bundle.serve("fixed", point=point.name))
        bundle.settle()  # no packing while others are measured
        stack.enter_context(Burner(traffic.hog))
        reports = replay(
            workers,
            moments,
            bundle.samples(),
            traffic.deadline,
            seed=traffic.seed,
            mixes=bundle.driver.MIXES,
        )
    return list(reports.values())


def _as_dict(traffic: Traffic, reports: list[Report]) -> dict[str, Any]:
    """The results: `reports` for programs; `title`, `columns` and `rows` for a bundle's page."""
    ranking = ranked(reports)
    return {
        "title": str(traffic),
        "columns": COLUMNS,
        "rows": [
            {"name": report.name, "cells": cells(report), "best": report is ranking[0]}
            for report in ranking
        ],
        "traffic": vars(traffic),
        "reports": {report.name: report.as_dict() for report in reports},
        "circumstances": device.circumstances(),
    }


def _as_text(traffic: Traffic, reports: list[Report]) -> str:
    lines = [str(traffic), *table(reports)]
    if max(report.sender_p99 for report in reports) > SPOILT * traffic.deadline:
        lines.append(
            "The sender was too late for these deadlines: the machine is too busy or the requests "
            "too short for this rate, and the figures say little."
        )
    return "\n".join(lines)
