"""`elastiq serve`: bundles behind the Open Inference Protocol, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import logging
from math import inf
from pathlib import Path
from typing import Any

import click

from compiler.commands import options
from elastiq import manifest
from elastiq.errors import ElastiqError, missing

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command(
    help="Serve BUNDLES (paths, or NAME=PATH) by the Open Inference Protocol (KServe v2) until it "
    "is told to end; then what waits is answered first.\n\n\b\n"
    "elastiq serve perceiver.elastiq --deadline-ms 30\n"
    "elastiq serve perceiver.elastiq --policy utility:watts=5 --min-accuracy 0.9\n"
    "elastiq serve digits=perceiver.elastiq --host 0.0.0.0 --token-file token.txt"
)
@click.argument("bundles", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8000, show_default=True, help="For HTTP; 0 is any.")
@click.option("--grpc-port", default=8001, show_default=True, help="For gRPC; 0 is any.")
@click.option("--policy", default="utility", show_default=True, help="As for elastiq run.")
@click.option("--min-accuracy", default=0.0, help="Of the points to choose from. [none]")
@click.option("--max-accuracy", default=inf, help="Likewise, to spare the device. [none]")
@click.option("--deadline-ms", type=float, help="Of requests that name none. [none]")
@click.option("--limit", default=64, show_default=True, help="Requests that may wait, per model.")
@click.option("--largest-mb", default=64, show_default=True, help="Of a request's body.")
@click.option("--token-file", type=click.Path(), help="Its content is asked of every request.")
@click.option("--certificate", type=click.Path(), help="Serve by TLS with this (PEM).")
@click.option("--traces", help="An OTLP collector: http://localhost:4318/v1/traces. [none]")
@click.option("--key", type=click.Path(), help="Of the certificate, where it lies apart.")
@options.as_json
def command(bundles: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    places = _places(bundles)
    try:
        from elastiq.server import running
    except ImportError as e:
        raise missing(str(e.name), "serve") from e
    from elastiq.server.models import Models
    from elastiq.server.service import Service

    certificate, key = (Path(p) if (p := settings[n]) else None for n in ("certificate", "key"))
    listening = running.Listening(
        settings["host"],
        settings["port"],
        settings["grpc_port"],
        _token(settings["token_file"]),
        certificate,
        key,
        settings["largest_mb"] << 20,
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if listening.host not in LOOPBACK and not listening.token:
        logging.warning("anybody who reaches %s may ask: see --token-file", listening.host)
    deadline = settings["deadline_ms"]
    models = Models(
        places,
        policy=settings["policy"],
        limit=settings["limit"],
        least_score=settings["min_accuracy"],
        most_score=settings["max_accuracy"],
    )
    for name in places:
        models.load(name)
    tracing = _tracing(settings["traces"])
    service = Service(models, None if deadline is None else deadline / 1000.0, tracing)

    def tell(ports: running.Ports) -> None:
        if as_json:
            told = {"http": ports.http, "grpc": ports.grpc, "models": models.names()}
            click.echo(json.dumps(told))
        else:
            scheme = "https" if listening.certificate else "http"
            click.echo(
                f"serving {', '.join(models.names())} at {scheme}://{listening.host}:{ports.http}"
            )
            click.echo(f"and by gRPC at {listening.host}:{ports.grpc}; end with Ctrl-C")

    try:
        asyncio.run(running.run(models, service, listening, tell))
    finally:
        models.close()
        if tracing is not None:
            tracing.close()


def _tracing(address: str | None) -> Any:
    if address is None:
        return None
    try:
        from elastiq.server import tracing
    except ImportError as e:
        raise missing(str(e.name), "traces") from e
    return tracing.to(address)


def _places(bundles: tuple[str, ...]) -> dict[str, Path]:
    places: dict[str, Path] = {}
    for text in bundles:
        name, given, path = text.rpartition("=")
        if Path(text).exists():
            name, given, path = "", "", text
        if not given:
            name = _own_name(Path(path))
        if name in places:
            raise ElastiqError(f"two models are called {name!r}. Name them: NAME=PATH")
        places[name] = Path(path)
    return places


def _own_name(path: Path) -> str:
    if path.is_dir():
        return manifest.read(path).name
    return path.name.partition(".")[0]


def _token(path: str | None) -> str:
    if path is None:
        return ""
    try:
        token = Path(path).read_text().strip()
    except OSError as e:
        raise ElastiqError(f"the token cannot be read: {e}") from e
    if not token:
        raise ElastiqError(f"{path} holds no token")
    return token
