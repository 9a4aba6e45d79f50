"""`elastiq report`: the page of a bundle, with a replay's results if there are any."""

from __future__ import annotations

import json
from pathlib import Path

import click

import elastiq
from compiler.commands import options
from elastiq import digest
from elastiq.errors import ElastiqError
from profiles import report


@click.command(
    help="Write BUNDLE's page: accuracy against latency, latency against load, and what a replay "
    "found.\n\n\b\nelastiq replay perceiver.elastiq -o burst.json\n"
    "elastiq report perceiver.elastiq --replay burst.json -o report.html"
)
@options.bundle
@click.option("--replay", type=click.Path(), help="What `elastiq replay -o` wrote.")
@click.option("-o", "--output", default="report.html", show_default=True, type=click.Path())
def command(bundle: str, replay: str | None, output: str) -> None:
    with elastiq.open(bundle) as opened:
        read = _read(replay) if replay else None
        page = report.render(opened.manifest, opened.table, read, opened.sensitivity())
    digest.write_atomically(Path(output), page.encode())
    click.echo(f"wrote {output}")


def _read(path: str) -> dict[str, object]:
    try:
        return dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as e:
        raise ElastiqError(f"{path} is not what `elastiq replay -o` writes: {e}") from e
