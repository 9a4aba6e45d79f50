"""`elastiq doctor`: what this machine can build and run, and what mends the rest."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import click

from compiler.commands import options
from elastiq import device
from elastiq.codec import plain
from elastiq.errors import ElastiqError
from targets.backends import backend, names
from targets.devices import Target, targets

TRACING = ("torch", "onnx", "onnxscript", "onnxruntime")


@click.command(help="Say what this machine can build and run, and why not.\n\n\b\nelastiq doctor")
@options.as_json
def command(as_json: bool) -> None:
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    machine = found["device"]
    click.echo(f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['flags'])}")
    for line in found["checks"]:
        click.echo(f"  {'ok ' if line['ok'] else 'no '} {line['what']}: {line['detail']}")


def examine() -> dict[str, Any]:
    """The device, and each thing that can be had or is missing here."""
    absent = [package for package in TRACING if importlib.util.find_spec(package) is None]
    tracing = f"install {', '.join(absent)}: pip install 'elastiq[compile]'" if absent else "ready"
    checks = [{"what": "tracing models", "ok": not absent, "detail": tracing}]
    for name in names():
        checks.append({"what": f"backend {name}", **_backend(name)})
    for target in targets().values():
        checks.append({"what": f"target {target.name}", **_target(target)})
    return {"device": {**plain(device.this()), "name": device.this().name}, "checks": checks}


def _target(target: Target) -> dict[str, Any]:
    found = {name: _backend(name) for name in target.backends}
    by = ", ".join(name for name, one in found.items() if one["ok"])
    if not by:
        return {"ok": False, "detail": "; ".join(one["detail"] for one in found.values())}
    what = "built, verified and measured here" if target.here else "compiled here, not executed"
    return {"ok": True, "detail": f"{what}, by {by}"}


def _backend(name: str) -> dict[str, Any]:
    try:
        return {"ok": True, "detail": backend(name).toolchain()}
    except ElastiqError as e:
        return {"ok": False, "detail": str(e)}
