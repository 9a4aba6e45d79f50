"""`elastiq targets`: the devices that can be built for."""

from __future__ import annotations

import json

import click

from compiler.commands import options
from elastiq.codec import plain
from targets.devices import targets


@click.command(help="List the devices that can be built for.\n\n\b\nelastiq targets")
@options.as_json
def command(as_json: bool) -> None:
    known = targets().values()
    if as_json:
        click.echo(
            json.dumps([{**plain(target), "here": target.here} for target in known], indent=1)
        )
        return
    for target in known:
        here = "this machine is one" if target.here else "not this machine: compiled, not executed"
        click.echo(f"{target.name}: {target.description} ({here})")
        click.echo(f"  backends {', '.join(target.backends)}; {', '.join(target.precisions)}")
