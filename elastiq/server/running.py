"""The server's life: both protocols listening, and an end that answers what waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from elastiq.errors import ElastiqError
from elastiq.server import grpc as rpc
from elastiq.server import http
from elastiq.server.models import Models
from elastiq.server.service import Service

log = logging.getLogger(__name__)
GRACE = 10.0  # seconds for what is being answered at the end


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and whom it lets in. Port 0 is any that is free."""

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int = 8001
    token: str = ""
    certificate: Path | None = None
    key: Path | None = None
    largest_body: int = http.LARGEST_BODY


@dataclass(frozen=True)
class Ports:
    """The ports that were bound."""

    http: int
    grpc: int


@contextlib.asynccontextmanager
async def serving(service: Service, listening: Listening) -> Any:
    """Both protocols, listening while the context lasts; gives their ports."""
    web_app = http.app(service, listening.token, listening.largest_body)
    runner = web.AppRunner(
        web_app, access_log=None, shutdown_timeout=GRACE, handler_cancellation=True
    )
    rpc_server = rpc.server(service, listening.token, listening.largest_body)
    try:
        grpc_port = _bind(rpc_server, listening)
        await runner.setup()
        await _site(runner, listening)
        await rpc_server.start()
        yield Ports(runner.addresses[0][1], grpc_port)
    finally:
        await asyncio.gather(rpc_server.stop(GRACE), runner.cleanup())


async def run(models: Models, service: Service, listening: Listening, ready: Any) -> None:
    """Serve until the process is told to end; `ready` is called with the ports."""
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with serving(service, listening) as ports:
        ready(ports)
        await ended.wait()
        log.info("ending: no new requests, %.0f s for those under way", GRACE)
    await asyncio.get_running_loop().run_in_executor(None, models.close)


async def _site(runner: web.AppRunner, listening: Listening) -> None:
    try:
        await web.TCPSite(
            runner, listening.host, listening.port, ssl_context=_tls(listening)
        ).start()
    except OSError as e:
        raise ElastiqError(f"cannot listen at {listening.host}:{listening.port}: {e}") from e


def _tls(listening: Listening) -> ssl.SSLContext | None:
    if listening.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listening.certificate, listening.key)
    except OSError as e:  # ssl's errors among them
        raise ElastiqError(f"the certificate and key cannot be used: {e}") from e
    return context


def _bind(server: grpc.aio.Server, listening: Listening) -> int:
    place = f"{listening.host}:{listening.grpc_port}"
    try:
        if listening.certificate is None:
            return server.add_insecure_port(place)
        return server.add_secure_port(place, _credentials(listening.certificate, listening.key))
    except RuntimeError as e:
        raise ElastiqError(f"cannot listen at {place}: {e}") from e


def _credentials(certificate: Path, key: Path | None) -> grpc.ServerCredentials:
    try:
        pair = (key or certificate).read_bytes(), certificate.read_bytes()
    except OSError as e:
        raise ElastiqError(f"the certificate cannot be read: {e}") from e
    return grpc.ssl_server_credentials([pair])
