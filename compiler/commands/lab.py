"""`elastiq lab`: build and measure on many machines."""

from __future__ import annotations

import asyncio
import json
import platform
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import click

from compiler.commands import options
from compiler.lab import quiet
from elastiq.errors import ElastiqError

PORT = 8786
HELP = """Build on any machine of a lab, and measure on the device that it is for.

\b
elastiq lab start --local
elastiq build zoo.perceiver:model --lab tcp://127.0.0.1:8786
"""
port = click.option("--port", default=PORT, show_default=True, help="Where the scheduler listens.")


@click.group(help=HELP)
def command() -> None:
    quiet.distributed()


@command.command(help="Start a lab on this machine.\n\n\b\nelastiq lab start --local --workers 2")
@click.option("--local", is_flag=True, help="All of it on this machine.")
@click.option("--workers", default=1, show_default=True, help="Workers that build.")
@port
def start(local: bool, workers: int, port: int) -> None:
    if not local:
        raise ElastiqError(
            "a lab of several machines is started one by one: elastiq lab scheduler, then "
            "elastiq lab worker on each. On this machine alone: elastiq lab start --local"
        )
    from compiler.lab import start as processes

    _until_stopped(processes.local(workers, port, _say))


@command.command(help="Start the scheduler.\n\n\b\nelastiq lab scheduler --host 192.168.1.10")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@port
def scheduler(host: str, port: int) -> None:
    from compiler.lab import start as processes

    _until_stopped(processes.scheduler(host, port, _say))


@command.command(
    help="Work for a lab: build, or own this machine as a device.\n\n\b\n"
    "elastiq lab worker tcp://192.168.1.10:8786 --device jetson-orin"
)
@click.argument("address")
@click.option(
    "--device", "devices", multiple=True, help="Own this device instead; see `elastiq targets`."
)
@click.option("--name", help="How it is called. [the machine's name]")
def worker(address: str, devices: tuple[str, ...], name: str | None) -> None:
    from compiler.lab import start as processes
    from compiler.lab.client import BUILD

    resources = processes.owned(devices) if devices else {BUILD: 1.0}
    called = name or f"{platform.node()}-{devices[0] if devices else BUILD}"
    _until_stopped(processes.worker(address, called, resources, _say))


@command.command(help="Say who does what.\n\n\b\nelastiq lab status tcp://127.0.0.1:8786")
@click.argument("address")
@options.as_json
def status(address: str, as_json: bool) -> None:
    from compiler.lab import client

    with client.connected(address) as connected:
        found = client.view(connected, address)
    click.echo(json.dumps(found, indent=1) if as_json else _shown(found))


def _shown(found: dict[str, Any]) -> str:
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(found["done"].items()))
    lines = [
        f"{worker['name']} ({', '.join(worker['resources'])}): {worker['doing'] or 'idle'}"
        for worker in found["workers"]
    ]
    lines += [f"waiting: {label}" for label in found["waiting"]]
    return "\n".join([*lines, f"done: {done or 'nothing yet'}"])


def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Stopping is not an error, and takes the processes along."""

    async def stoppable() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(stoppable())


def _say(line: str) -> None:
    click.echo(line, err=True)
