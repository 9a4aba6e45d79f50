"""`elastiq run`: one request, answered at the point that the device's load allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

import elastiq
from compiler.commands import options
from elastiq import policies
from elastiq.bundle import Bundle
from elastiq.errors import ElastiqError
from elastiq.requests import Answer

SHOWN = 8  # values of an output that are printed for people


@click.command(
    help="Answer one request with BUNDLE, and say at which point and how fast. Without an input, "
    "one of the bundle's own samples is answered.\n\n\b\n"
    "elastiq run perceiver.elastiq --input image=cat.npy --deadline 30 --explain"
)
@options.bundle
@click.option("--input", "inputs", multiple=True, help="An input from a file: image=x.npy.")
@click.option("--deadline", type=float, help="Milliseconds that the answer may take.")
@click.option("--point", help="Run at this point, whatever the load.")
@click.option(
    "--policy",
    default="utility",
    show_default=True,
    help=f"How to choose the point: {', '.join(policies.names())}; options may follow, as in "
    "utility:watts=5.",
)
@click.option("--explain", is_flag=True, help="Show what the point was chosen from, and why.")
@options.as_json
def command(
    bundle: str,
    inputs: tuple[str, ...],
    deadline: float | None,
    point: str | None,
    policy: str,
    explain: bool,
    as_json: bool,
) -> None:
    chosen: dict[str, Any] = {"policy": "fixed", "point": point} if point else {"policy": policy}
    with elastiq.open(bundle) as opened:
        request = _read(inputs) if inputs else opened.samples().input(0)
        with opened.serve(**chosen) as worker:
            seconds = None if deadline is None else deadline / 1000
            answer = worker.ask(request, seconds)
        click.echo(
            json.dumps(_as_dict(answer, explain), indent=1)
            if as_json
            else _as_text(opened, answer, deadline, explain)
        )


def _read(inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays that `name=file.npy` arguments name."""
    arrays = {}
    for argument in inputs:
        name, equals, file = argument.partition("=")
        if not (name and equals and file):
            raise ElastiqError(f"{argument!r} is not an input. Write it as name=file.npy")
        try:
            array = np.load(Path(file), allow_pickle=False)
        except (OSError, ValueError, EOFError) as e:
            raise ElastiqError(f"{file} cannot be read as a numpy array: {e}") from e
        if not isinstance(array, np.ndarray):
            raise ElastiqError(f"{file} holds several arrays. Save one: numpy.save({name!r}, x)")
        arrays[name] = array
    return arrays


def _as_dict(answer: Answer, explain: bool) -> dict[str, Any]:
    said = {
        "point": answer.point,
        "waited": answer.waited,
        "took": answer.took,
        "outputs": {name: array.tolist() for name, array in answer.outputs.items()},
    }
    return said | ({"choice": answer.choice.as_dict()} if explain else {})


def _as_text(bundle: Bundle, answer: Answer, deadline: float | None, explain: bool) -> str:
    spent = 1000 * (answer.waited + answer.took)
    late = deadline is not None and spent > deadline
    lines = answer.choice.lines() if explain else []
    lines.append(
        f"{bundle.manifest.name} at {answer.point}: {spent:.2f} ms, of which the engine took "
        f"{1000 * answer.took:.2f}{', after its deadline' if late else ''}"
    )
    for name, array in answer.outputs.items():
        values = " ".join(f"{value:.4g}" for value in array.ravel()[:SHOWN])
        more = " …" if array.size > SHOWN else ""
        lines.append(f"{name} {array.dtype}{list(array.shape)}: {values}{more}")
    return "\n".join(lines)
