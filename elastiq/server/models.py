"""The bundles in service: which there are, which are loaded, and updates that lose no request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elastiq
from elastiq import digest
from elastiq.bundle import Bundle
from elastiq.codec import plain
from elastiq.errors import ElastiqError, WorkerClosed, unknown
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec
from elastiq.requests import NORMAL, Answer
from elastiq.worker import Worker

log = logging.getLogger(__name__)


class NotReady(ElastiqError):
    """A model that is known here, and not loaded."""


class Unknown(ElastiqError):
    """A model, or a version of it, that is not served here."""


@dataclass(frozen=True)
class Wishes:
    """What a request asks for beside its answer."""

    deadline: float | None = None  # seconds
    point: str | None = None
    least_score: float = 0.0
    priority: int = NORMAL
    session: str | None = None
    begins: bool = False
    ends: bool = False


@dataclass(frozen=True)
class Served:
    """A loaded bundle and its worker."""

    name: str
    version: str  # changes with every byte of the bundle
    bundle: Bundle
    worker: Worker
    outputs: tuple[TensorSpec, ...]  # of one request

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        stages = self.bundle.manifest.points[0].stages
        return self.bundle.driver.inputs({name: s.inputs for name, s in stages.items()})

    def ask(self, inputs: Arrays, wishes: Wishes) -> Future[Answer]:
        """Queue a request; the session that it names begins and ends where it says so."""
        session = wishes.session
        if session is not None and wishes.begins:
            self.worker.session(session)
        future = self.worker.submit(
            inputs, wishes.deadline, session, wishes.point, wishes.least_score, wishes.priority
        )
        if session is not None and wishes.ends:
            future.add_done_callback(lambda _: self.worker.end(session))
        return future

    def close(self) -> None:
        """Answer what waits, and end."""
        self.worker.close()
        self.bundle.close()


class Models:
    """Opens bundles by the names they were given at the start, and by no others."""

    def __init__(self, places: Mapping[str, Path], **serving: Any) -> None:
        self._places = dict(places)
        self._serving = serving
        self._served: dict[str, Served] = {}
        self._failed: dict[str, str] = {}
        self._changing = {name: threading.Lock() for name in places}

    @property
    def ready(self) -> bool:
        """Whether every model is loaded."""
        return all(name in self._served for name in self._places)

    def names(self) -> list[str]:
        return list(self._places)

    def served(self) -> list[Served]:
        return list(self._served.values())

    def state(self, name: str) -> tuple[str, str]:
        """READY or UNAVAILABLE, and why."""
        if name in self._served:
            return "READY", ""
        return "UNAVAILABLE", self._failed.get(name, "unloaded")

    def get(self, name: str, version: str = "") -> Served:
        """A loaded model. It may be replaced at any moment."""
        self._known(name)
        found = self._served.get(name)
        if found is None:
            raise NotReady(f"model {name!r} is not loaded: {self.state(name)[1]}")
        if version not in ("", found.version):
            raise Unknown(f"model {name!r} is served at version {found.version}, not {version!r}")
        return found

    def ask(
        self, name: str, version: str, inputs: Arrays, wishes: Wishes
    ) -> tuple[Served, Future[Answer]]:
        """Queue a request with whoever serves a model now."""
        while True:
            served = self.get(name, version)
            try:
                return served, served.ask(inputs, wishes)
            except WorkerClosed:
                if self._served.get(name) is served:
                    raise

    def load(self, name: str) -> None:
        """Load a model, or what its place holds by now; the old one answers until then."""
        self._known(name)
        with self._changing[name]:
            try:
                served = _open(name, self._places[name], self._serving)
            except ElastiqError as e:
                self._failed[name] = str(e)
                raise
            old = self._served.get(name)
            self._served[name] = served
        log.info("model %s is served at version %s", name, served.version)
        if old is not None:
            old.close()

    def unload(self, name: str) -> None:
        """Take a model out of service, once what waits for it is answered."""
        self._known(name)
        with self._changing[name]:
            old = self._served.pop(name, None)
            self._failed.pop(name, None)
        if old is not None:
            old.close()

    def close(self) -> None:
        for name in self._places:
            self.unload(name)

    def _known(self, name: str) -> None:
        if name not in self._places:
            raise Unknown(str(unknown("model", name, self._places)))


def _open(name: str, path: Path, serving: Mapping[str, Any]) -> Served:
    bundle = elastiq.open(path)
    try:
        version = digest.of_value(plain(bundle.manifest))[:12]
        return Served(name, version, bundle, bundle.serve(**serving), _outputs(bundle))
    except BaseException:
        bundle.close()
        raise


def _outputs(bundle: Bundle) -> tuple[TensorSpec, ...]:
    """What a request is answered, as verification saw it: stages may answer several, or inwards."""
    answers = next(iter(bundle.samples().outputs.values()))
    return tuple(
        TensorSpec(name, str(array.dtype), (1, *array.shape[1:])) for name, array in answers.items()
    )
