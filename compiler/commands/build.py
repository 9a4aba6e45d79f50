"""`elastiq build`, and the passes one by one: the same options, stopping where they are told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from compiler import config
from compiler.commands import options
from compiler.config import Config
from compiler.lab import quiet
from compiler.plan import plan
from compiler.progress import Progress
from compiler.workshop import HERE, Workshop
from profiles import export
from profiles.export import FORMS
from targets.devices import target

HELP = {
    "build": "Make a bundle from MODEL: trace, quantize, compile, verify, profile and bundle it.",
    "trace": "Trace MODEL at each of its points into ONNX graphs, checked node by node.",
    "quantize": "Trace MODEL and quantize its graphs to INT8.\n\n\b\n"
    "elastiq quantize vit.py:model --calibration images.npy --ranges mse --no-smooth",
    "compile": "Trace and quantize MODEL, and build an engine of every graph.",
    "verify": "Compile MODEL and hold the answers of every engine against those of the model.",
    "profile": "Verify MODEL's engines and measure what each costs on this machine.",
    "bundle": "Make a bundle from MODEL; the same as build.",
}


def _make(name: str) -> click.Command:
    @click.command(name, help=f"{HELP[name]}\n\n\b\nelastiq {name} {options.MODEL_EXAMPLE}")
    @options.building
    @options.as_json
    def command(**flags: Any) -> None:
        _run(name, flags)

    return command


commands = {name: _make(name) for name in HELP}
for form, name in {"table": "JSON", "csv": "CSV", "parquet": "Parquet"}.items():
    commands["profile"] = click.option(
        f"--{form}", type=click.Path(), help=f"Write the latency table to this file, as {name}."
    )(commands["profile"])


def _run(name: str, flags: dict[str, Any]) -> None:
    as_json = flags.pop("as_json")
    exports = {form: Path(path) for form in FORMS if (path := flags.pop(form, None))}
    given = flags.pop("config")
    path = Path(given) if given else _here()
    settings = config.read(path, flags)
    until = "bundle" if name == "build" else name
    with _workshop(settings) as workshop:
        planned = plan(settings)
        from compiler import pipeline  # with torch behind it
        from compiler.store import Store

        with Progress(planned.tasks, silent=as_json) as progress:
            built = pipeline.build(planned, Store.default(), progress, until, workshop)
    from compiler import summary

    if built.table is not None:
        for form, where in exports.items():
            export.write(built.table, where, form)
    if as_json:
        click.echo(json.dumps(summary.as_dict(built, planned.absent), indent=1))
    else:
        click.echo(summary.as_text(built, planned.absent))


@contextmanager
def _workshop(config: Config) -> Iterator[Workshop]:
    """This machine, or the lab that is named."""
    if not config.lab:
        yield HERE
        return
    quiet.distributed()
    from compiler.lab import client

    with client.opened(config.lab, target(config.target), config.lab_patience) as lab:
        for name, version in lab.others.items():
            click.echo(f"the device has another {name} than this machine: {version}", err=True)
        yield lab


def _here() -> Path | None:
    path = Path(config.FILE)
    return path if path.is_file() else None
