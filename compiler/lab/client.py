"""A lab as the passes use it: engines are built by any of its workers, and run on one device."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import distributed
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from compiler.answering import Answering, Manner, Way
from compiler.children import Died
from compiler.lab import work
from compiler.lab.labels import MARK, label_of
from compiler.lab.parcels import Parcel, pack, send, unpack
from compiler.lab.work import INPUTS, BuildOrder, Outcome, Sent
from compiler.passes.compile import BuiltEngine
from compiler.terms import Terms
from compiler.workshop import Filling, Made, Unavailable
from elastiq import arrays
from elastiq.codec import decode
from elastiq.device import Device
from elastiq.drivers import Outputs
from elastiq.errors import EngineError
from elastiq.protocols import Arrays
from elastiq.records import Graph, Point
from targets.backends import backend
from targets.devices import Target

CONNECTING = 5.0  # seconds
LOOK = 1.0  # seconds, between looks at whether the lab is still there
BUILD = "build"  # the resource of workers that build


@dataclass(frozen=True)
class Owner:
    """The device of a lab that engines are run on, by its worker's own account."""

    target: str
    device: Device
    circumstances: dict[str, str]
    others: Mapping[str, str]  # runtimes that are of another version there than here


class Lab:
    """A workshop of many machines: see `compiler.workshop.Workshop`."""

    def __init__(self, client: distributed.Client, owner: Owner, patience: float) -> None:
        self._client = client
        self._owner = owner
        self._patience = patience
        self._ordered = 0
        self._urgent = False
        self._parcels: dict[Path, Parcel] = {}

    @property
    def others(self) -> Mapping[str, str]:
        """The runtimes that are of another version on the device than here."""
        return self._owner.others

    @property
    def device(self) -> Device:
        return self._owner.device

    @property
    def circumstances(self) -> dict[str, str]:
        return self._owner.circumstances

    def runs(self, target: Target) -> bool:
        return target.name == self._owner.target

    def portions(self, points: Sequence[Point]) -> Iterable[Sequence[Point]]:
        self._urgent = True  # what is ordered while these are at work is waited for
        return [[point] for point in points]

    @property
    def builders(self) -> int:
        return 1  # they are all at work since they were ordered

    def order(self, graph: Graph, name: str, terms: Terms) -> Filling:
        paths = (graph.path, *graph.peers)
        parcels = tuple(self._sent(path.parent, graph.weights) for path in paths)
        only = replace(terms, settings={name: terms.of(name)})
        order = BuildOrder(graph, parcels, name, backend(name).toolchain(), only)
        label = f"compile {graph.point} {graph.stage} {graph.precision} {name}"
        future = self._submit(label, (BUILD,), work.build, order)

        def fill(out: Path) -> None:
            made: Parcel = self._result(future, BUILD)
            unpack(made, out, graph.weights, self._depot)

        return fill

    def run(self, function: Callable[..., Made], engines: Sequence[Any], *arguments: Any) -> Made:
        label = f"measure {len(engines)} engines"
        made: Made = self.on_device(label, work.run, function, self._engines(engines), arguments)
        return made

    def notes(self, folder: Path) -> Path | None:
        return None

    def load(self, engines: Mapping[str, BuiltEngine], manner: Manner) -> Answering:
        sent = dict(zip(engines, self._engines(list(engines.values())), strict=True))
        return _There(self, sent, manner)

    def sent_inputs(self, inputs: Arrays) -> Parcel:
        """The parcel of a batch, on its way."""
        with tempfile.TemporaryDirectory() as name:
            arrays.save(Path(name) / INPUTS, inputs)
            parcel = pack(Path(name))
            send(parcel, Path(name), Path(name), self._depot)
        return parcel

    def on_device(self, label: str, function: Callable[..., Outcome], *arguments: Any) -> Any:
        """The value of a task that runs on the device, alone; its crash is that of an engine."""
        future = self._submit(label, self._alone, function, *arguments, self.circumstances)
        try:
            return self._result(future, *self._alone)
        except Died as e:
            raise EngineError(f"{label} on {self._owner.target}: {e}") from e

    def rest(self) -> None:
        """Let the device unload what it has loaded, when it comes to it."""
        with suppress(Exception):  # where the lab has gone, its device rests
            distributed.fire_and_forget(self._submit("rest", self._alone, work.rest))

    @property
    def _alone(self) -> tuple[str, ...]:
        """A device is named by its kind and by what it is: two that differ are not mixed."""
        return self._owner.target, self._owner.device.name

    def _engines(self, engines: Sequence[BuiltEngine]) -> tuple[Sent, ...]:
        return tuple(
            Sent(replace(e, terms=Terms()), self._sent(e.folder, e.graph.weights)) for e in engines
        )

    def _sent(self, folder: Path, weights: Path) -> Parcel:
        if folder not in self._parcels:
            parcel = pack(folder)
            send(parcel, folder, weights, self._depot)
            self._parcels[folder] = parcel
        return self._parcels[folder]

    def _depot(self, operation: str, **what: Any) -> Any:
        try:
            return self._client.sync(_operation(self._client, operation), **what)
        except OSError as e:
            raise Unavailable(f"the lab was lost: {e}. Run the same command to go on.") from e

    def _submit(
        self,
        label: str,
        resources: Sequence[str],
        function: Callable[..., Outcome],
        *arguments: Any,
    ) -> distributed.Future:
        self._ordered += 1
        return self._client.submit(
            function,
            *arguments,
            key=f"{label}{MARK}{uuid.uuid4().hex}",
            resources=dict.fromkeys(resources, 1),
            priority=1 if self._urgent else -self._ordered,
            pure=False,
        )

    def _result(self, future: distributed.Future, *resources: str) -> Any:
        """The value of a task, unless nobody is there to do it for too long."""
        alone = time.monotonic()
        while True:
            try:
                return work.value_of(future.result(timeout=LOOK))
            except distributed.TimeoutError:
                if self._staffed(resources):
                    alone = time.monotonic()
                elif time.monotonic() - alone > self._patience:
                    future.cancel()
                    raise Unavailable(
                        f"no worker of the lab with {resources[0]} came back within "
                        f"{self._patience:g} s. Start it and run the same command to go on."
                    ) from None
            except KilledWorker as e:
                raise Unavailable(
                    f"every worker died that tried to {label_of(future.key)}. Look at what they "
                    "print, and run the same command to go on."
                ) from e
            except (distributed.client.FutureCancelledError, CommClosedError) as e:
                raise Unavailable("the lab was lost. Run the same command to go on.") from e

    def _staffed(self, resources: Sequence[str]) -> bool:
        """Whether some worker can do what needs these."""
        with suppress(Unavailable):
            workers = self._depot("elastiq_view")["workers"]
            return any(set(resources) <= set(worker["resources"]) for worker in workers)
        return False


class _There:
    """The engines of a point, loaded on the device when it is asked something."""

    def __init__(self, lab: Lab, engines: Mapping[str, Sent], manner: Manner) -> None:
        self._lab = lab
        self._engines = engines
        self._manner = manner
        built = next(iter(engines.values())).built
        self._label = f"{built.graph.point} {built.graph.precision} {built.backend}"

    def answer(self, inputs: Arrays) -> tuple[Outputs, Counter[Way]]:
        parcel = self._lab.sent_inputs(inputs)
        means = (self._engines, self._manner, parcel)
        answers: tuple[Outputs, Counter[Way]]
        answers = self._lab.on_device(f"verify {self._label}", work.answer, *means)
        return answers

    def feed(self, stage: str, feeds: Sequence[Arrays]) -> list[Outputs]:
        means = (self._engines, self._manner, stage, feeds)
        found: list[Outputs] = self._lab.on_device(f"verify {self._label}", work.feed, *means)
        return found

    def close(self) -> None:
        self._lab.rest()


@contextmanager
def connected(address: str) -> Iterator[distributed.Client]:
    """A client of a lab, or why there is none."""
    try:
        client = distributed.Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError, distributed.TimeoutError) as e:
        raise Unavailable(
            f"no lab answers at {address} ({e}). Start one with: elastiq lab start --local"
        ) from e
    try:
        yield client
    finally:
        with suppress(Exception):  # a lab that has gone is not to hide why
            client.close(timeout=CONNECTING)


@contextmanager
def opened(address: str, target: Target, patience: float) -> Iterator[Lab]:
    """The lab at an address, for engines of a target."""
    with connected(address) as client:
        owner = _owner(client, address, target)
        yield Lab(client, owner, patience)


def _operation(client: distributed.Client, name: str) -> Any:
    """One of what the depot does."""
    return getattr(client.scheduler, name)


def view(client: distributed.Client, address: str) -> dict[str, Any]:
    """Who is in a lab, what they do, and what waits."""
    try:
        found: dict[str, Any] | None = client.sync(_operation(client, "elastiq_view"))
    except OSError as e:
        raise Unavailable(f"the lab at {address} was lost: {e}") from e
    if found is None:  # what Dask answers to what it does not know
        raise Unavailable(
            f"{address} is a Dask scheduler, but no lab. Start one with: elastiq lab scheduler"
        )
    return found


def _owner(client: distributed.Client, address: str, target: Target) -> Owner:
    """The device for a target; everything that would stop a build later is found here."""
    staff = {worker["address"]: worker for worker in view(client, address)["workers"]}
    if not any(BUILD in worker["resources"] for worker in staff.values()):
        raise Unavailable(
            f"the lab at {address} has nobody who builds. Start: elastiq lab worker {address}"
        )
    owners = [place for place, worker in staff.items() if target.name in worker["resources"]]
    if not owners:
        kinds = {kind for worker in staff.values() for kind in worker["resources"]}
        raise Unavailable(
            f"nobody in the lab at {address} owns a {target.name} (there is "
            f"{', '.join(sorted(kinds)) or 'nobody'}). On the device, start: "
            f"elastiq lab worker {address} --device {target.name}"
        )
    said = client.run(work.introduce, on_error="return")
    present = {place: one for place, one in said.items() if not isinstance(one, OSError)}
    ours = work.versions()
    for place, one in present.items():
        if isinstance(one, Exception) or one["versions"]["elastiq"] != ours["elastiq"]:
            raise Unavailable(
                f"the worker {staff[place]['name']} of the lab has another version of elastiq than "
                f"the {ours['elastiq']} that is here. Install the same on both."
            )
    worker = next((present[place] for place in owners if place in present), None)
    if worker is None:
        raise Unavailable(f"the worker of the {target.name} does not answer; try again")
    others = {
        name: found
        for name, found in worker["versions"].items()
        if name in work.RUNTIMES and found != ours.get(name, found)
    }
    device = decode(Device, worker["device"], "the device of a worker")
    return Owner(target.name, device, worker["circumstances"] | others, others)
