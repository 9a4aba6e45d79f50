"""`elastiq check`: whether a bundle is whole and does here what it did where it was built."""

from __future__ import annotations

import json

import click

import elastiq
from compiler.commands import options
from elastiq.bundle import Bundle
from elastiq.errors import BundleError, ElastiqError
from elastiq.goldens import TOLERANCE, largest_error


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
        return {p.name: largest_error(bundle, p) for p in bundle.manifest.points}, ""
    except ElastiqError as e:
        if any(engine.executed for engine in bundle.manifest.engines):
            raise
        return {}, str(e)
