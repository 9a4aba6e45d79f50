"""The processes of a lab: a scheduler, workers that build, and workers that own a device."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import distributed
from distributed.comm import connect, get_address_host
from distributed.utils import get_ip

from compiler.lab.client import BUILD, CONNECTING
from compiler.lab.depot import Depot
from compiler.store import Store
from compiler.workshop import Unavailable
from elastiq import device
from elastiq.errors import ElastiqError
from targets.devices import target, targets

LOOPBACK = "127.0.0.1"
Say = Callable[[str], None]


def owned(names: Sequence[str]) -> dict[str, float]:
    """The resources of a worker that owns this machine as a device of these names."""
    for name in names:
        if not target(name).here:
            raise ElastiqError(
                f"this machine ({device.this().name}) is no {name}, so it cannot speak for one; "
                "see elastiq doctor"
            )
    return {**dict.fromkeys(names, 1.0), device.this().name: 1.0}


async def scheduler(host: str, port: int, say: Say) -> None:
    """Schedule, until it is stopped."""
    async with AsyncExitStack() as stack:
        await (await _scheduler(stack, host, port, say)).finished()


async def worker(address: str, name: str, resources: dict[str, float], say: Say) -> None:
    """Work for the lab at an address, until it is stopped or the lab has gone."""
    try:
        await (await connect(address, timeout=CONNECTING)).close()
    except (OSError, ValueError) as e:
        raise Unavailable(f"no lab answers at {address} ({e})") from e
    async with AsyncExitStack() as stack:
        nanny = await _worker(stack, address, name, resources, say)
        await nanny.finished()
    raise Unavailable(f"the lab at {address} has gone; start the worker again when it is back")


async def local(builders: int, port: int, say: Say) -> None:
    """A lab on this machine: so many workers that build, and one that owns it as a device."""
    names = [name for name, known in targets().items() if known.here]
    async with AsyncExitStack() as stack:
        running = await _scheduler(stack, LOOPBACK, port, say)
        wanted = {f"build-{place}": {BUILD: 1.0} for place in range(builders)}
        wanted["device"] = owned(names)
        await asyncio.gather(
            *(_worker(stack, running.address, name, can, say) for name, can in wanted.items())
        )
        say(f"ready: elastiq build MODEL --lab {running.address}")
        await running.finished()


async def _scheduler(
    stack: AsyncExitStack, host: str, port: int, say: Say
) -> distributed.Scheduler:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="depot-", dir=_store()))
    web = f"{LOOPBACK}:0"  # Dask's own pages, for its own tools
    made = distributed.Scheduler(
        host=host, port=port, plugins=[Depot(Path(folder))], dashboard=False, dashboard_address=web
    )
    try:
        running: distributed.Scheduler = await stack.enter_async_context(made)
    except OSError as e:
        raise ElastiqError(f"cannot listen at {host}:{port}: {e}") from e
    say(f"lab at {running.address}")
    return running


async def _worker(
    stack: AsyncExitStack, address: str, name: str, resources: dict[str, float], say: Say
) -> Any:
    """A process that works, and one that starts it again when it dies."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="worker-", dir=_store()))
    made = distributed.Nanny(
        address,
        host=get_ip(get_address_host(address)),  # and not all that this machine has
        nthreads=1,
        name=name,
        resources=resources,
        memory_limit=0,
        local_directory=folder,
    )
    running = await stack.enter_async_context(made)
    say(f"worker {name}: {', '.join(resources)}")
    return running


def _store() -> Path:
    return Store.default().root
