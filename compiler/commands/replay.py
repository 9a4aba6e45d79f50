"""`elastiq replay`: every policy and every fixed point under the same load, real or simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import elastiq
from compiler.commands import options
from elastiq import contest, device, digest, hog, rehearsal
from elastiq.arrivals import ARRIVALS
from elastiq.bundle import Bundle
from elastiq.contest import Contest
from elastiq.errors import ElastiqError
from elastiq.outcomes import COLUMNS, cells, ranked, table
from elastiq.traffic import Traffic

SPOILT = 0.25  # of the deadline: a sender later than this has measured itself


@click.command(
    help="Send the same traffic to BUNDLE's dispatcher under each policy and to each of its points "
    "alone, in turns, and compare what was answered rightly by its deadline.\n\n\b\n"
    "elastiq replay perceiver.elastiq -o burst.json\n"
    "elastiq replay perceiver.elastiq --arrivals gamma --cv 4 --rate 2 --hog 0:0,3:0.5\n"
    "elastiq replay perceiver.elastiq --trace moments.csv --simulate"
)
@options.bundle
@click.option(
    "--arrivals", "kind", type=click.Choice(sorted(ARRIVALS)), default="step", show_default=True
)
@click.option("--trace", type=click.Path(), help="Recorded arrivals instead: a moment a line.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Mean rate, as a multiple of what the costliest point can do on the idle device.",
)
@click.option("--cv", type=float, help="Of gamma arrivals: deviation of gaps over their mean. [3]")
@click.option("--times", type=float, help="Of a step or ramp: highest rate over lowest. [4]")
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
    "others",
    default="0",
    show_default=True,
    help="Share of the CPU that another program takes meanwhile, or a script: 0:0,2:0.8,4:0.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--policy",
    "names",
    multiple=True,
    help=f"Only this one, beside the points: {', '.join(contest.own_policies())}; options may "
    "follow, as in utility:in_time=0.99. [all]",
)
@click.option("--simulate", is_flag=True, help="By the latency table, in place of real runs.")
@click.option(
    "--rehearse", is_flag=True, help="Find out first how runs differ here from the table."
)
@click.option("-o", "--output", type=click.Path(), help="Write the results there, as JSON.")
@options.as_json
def command(
    bundle: str,
    names: tuple[str, ...],
    simulate: bool,
    rehearse: bool,
    output: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    if rehearse and not simulate:
        raise click.UsageError("--rehearse is for --simulate: what is for real needs none")
    with elastiq.open(bundle) as opened:
        traffic = _traffic(opened, **asked)
        chosen = names or contest.own_policies()
        if simulate:
            beside = rehearsal.rehearse(opened) if rehearse else rehearsal.Beside()
            found = contest.simulated(opened, chosen, traffic, beside)
        else:
            found = contest.real(opened, chosen, traffic)
        title = _title(traffic, found, opened.predicted)
    results = _as_dict(title, traffic, found)
    if output:
        digest.write_atomically(Path(output), (json.dumps(results, indent=1) + "\n").encode())
    click.echo(json.dumps(results, indent=1) if as_json else _as_text(title, traffic, found))


def _traffic(
    bundle: Bundle,
    kind: str,
    trace: str | None,
    rate: float,
    deadline: float,
    deadline_ms: float | None,
    seconds: float,
    others: str,
    seed: int,
    **shape: float | None,
) -> Traffic:
    """What is asked for, in requests a second and in seconds."""
    point = bundle.manifest.points[-1]
    costliest = bundle.table.of(point, load=0.0)
    due = deadline * costliest.p50 if deadline_ms is None else deadline_ms / 1000
    given = {name: value for name, value in shape.items() if value is not None}
    if trace is not None and given:
        raise ElastiqError(f"a trace is as it was recorded: leave out --{next(iter(given))}")
    recording = None if trace is None else Path(trace)
    return Traffic(
        kind if recording is None else recording.name,
        rate * point.takes / costliest.mean,
        due,
        seconds,
        seed,
        hog.read(others),
        given,
        recording,
    )


def _as_dict(title: str, traffic: Traffic, found: Contest) -> dict[str, Any]:
    """The results: `reports` for programs; `title`, `columns` and `rows` for a bundle's page."""
    ranking = ranked(found.reports)
    return {
        "title": title,
        "columns": COLUMNS,
        "rows": [
            {"name": report.name, "cells": cells(report), "best": report is ranking[0]}
            for report in ranking
        ],
        "traffic": {
            **vars(traffic),
            "hog": traffic.hog.script,
            "recording": str(traffic.recording or ""),
        },
        "reports": {report.name: report.as_dict() for report in found.reports},
        "bound": found.bound._asdict(),
        "simulated": found.simulated,
        "beside": found.beside and found.beside._asdict(),
        "circumstances": device.circumstances(),
    }


def _as_text(title: str, traffic: Traffic, found: Contest) -> str:
    lines = [title, *table(found.reports)]
    if found.simulated:
        lines.pop()  # no sender was late
        lines.append(f"it was taken that {found.beside}")
    highest = found.bound
    lines.append(
        f"who knew when all would come could reach {100 * highest.effective_accuracy:.2f} % "
        f"effective, or {100 * highest.attainment:.2f} % in time"
    )
    if max(report.sender_p99 for report in found.reports) > SPOILT * traffic.deadline:
        lines.append(
            "The sender was too late for these deadlines: the machine is too busy or the requests "
            "too short for this rate, and the figures say little."
        )
    return "\n".join(lines)


def _title(traffic: Traffic, found: Contest, predicted: bool) -> str:
    remarks = ["simulated"] * found.simulated + ["by predicted latencies"] * predicted
    return f"{traffic} ({', '.join(remarks)})" if remarks else str(traffic)
