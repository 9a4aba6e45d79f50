"""`elastiq check`: whether a bundle is whole and does here what it did where it was built."""

from __future__ import annotations

import json

import click
import numpy as np

import elastiq
from compiler.commands import options
from elastiq.bundle import Bundle
from elastiq.errors import BundleError, EngineError

TOLERANCE = 0.02  # of the largest output: another CPU's kernels round INT8 sums otherwise
SAMPLES = 8


@click.command(
    help="Check every file of BUNDLE against its digest, and every point's answers against those "
    "it was verified with.\n\n\b\nelastiq check perceiver.elastiq"
)
@options.bundle
@options.as_json
def command(bundle: str, as_json: bool) -> None:
    with elastiq.open(bundle) as opened:
        files = opened.check()
        errors, why = _errors(opened)
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE]
    if wrong:
        raise BundleError(
            f"{bundle} answers otherwise on this device at {', '.join(wrong)} "
            f"(error {max(errors[name] for name in wrong):.2g}). Build it for this device."
        )
    if as_json:
        click.echo(json.dumps({"files": files, "errors": errors, "unexecuted": why}))
    elif why:
        click.echo(f"{bundle} is whole: {files} files. Its engines were not executed: {why}")
    else:
        click.echo(f"{bundle} is whole: {files} files, {len(errors)} points answer as verified")


def _errors(bundle: Bundle) -> tuple[dict[str, float], str]:
    """The largest error of each point, or why engines for another device do not run here."""
    try:
        return {p.name: _largest_error(bundle, p.name) for p in bundle.manifest.points}, ""
    except EngineError as e:
        if any(engine.executed for engine in bundle.manifest.engines):
            raise
        return {}, str(e)


def _largest_error(bundle: Bundle, point: str) -> float:
    """Answered as many at a time as when they were verified: who they come with may matter."""
    samples = bundle.samples()
    takes = bundle.point(point).takes
    worst = 0.0
    for first in range(0, min(SAMPLES, len(samples)), takes):
        together = range(first, min(first + takes, len(samples)))
        answers = bundle.together(point, [samples.input(index) for index in together])
        for index, answer in zip(together, answers, strict=True):
            for name, golden in samples.outputs[point].items():
                scale = max(float(np.abs(golden).max()), 1e-6)
                worst = max(worst, float(np.abs(answer[name] - golden[index]).max()) / scale)
    return worst
