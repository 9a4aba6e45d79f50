"""An opened bundle: checked files, engines loaded once, and inference by point or by deadline."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from elastiq import archive, device, digest, drivers, heap, latency, manifest, plugins, samples
from elastiq.drivers import Memory, Outputs, Ready, Remembering, Run
from elastiq.errands import errands
from elastiq.errors import BundleError, ElastiqError, unknown
from elastiq.latency import LatencyTable
from elastiq.manifest import FileRecord, inside
from elastiq.protocols import Arrays, Engine, Runner, RunnerOptions
from elastiq.records import EngineRecord, PointRecord
from elastiq.requests import Done
from elastiq.sessions import Session, Sessions
from elastiq.worker import Worker, serve

log = logging.getLogger(__name__)

WEIGHTS = "weights"
SAMPLES = "samples.npz"
SENSITIVITY = "sensitivity.json"


class Bundle:
    """A bundle, from a folder or an archive, on this device.

    Every file is checked against its digest before its use.
    """

    def __init__(self, path: Path, threads: int | None = None, share: bool = True) -> None:
        self.path = path = _folder(path)
        self.share = share  # what engines have in common, through the device's cache
        self.manifest = manifest.read(path)
        self.threads = threads or self.manifest.threads
        self._points = {point.name: point for point in self.manifest.points}
        self._records = {engine.key: engine for engine in self.manifest.engines}
        self._inputs = {
            point.name: {stage: record.inputs for stage, record in point.stages.items()}
            for point in self.manifest.points
        }
        self._engines: dict[str, Engine] = {}
        self._checked: set[str] = set()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._loaders: ThreadPoolExecutor | None = None
        self._trusting = threading.Lock()
        self._worker: Worker | None = None
        self.driver = drivers.driver(self.manifest.driver, self.manifest.driver_settings)
        self._ready: dict[str, Ready] = {}
        for name, record in self.manifest.files.items():
            _check_size(inside(path, name), record.size)
        self._table = self._read_table()
        self._told = False  # that its latencies are predicted

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def measured(self) -> bool:
        """Whether any device's latency table came along that was measured."""
        return self._table is not None and self._table.measured

    @property
    def predicted(self) -> bool:
        """Whether its latencies are a roofline's: of a device that nobody measured on."""
        return self._table is not None and not self._table.measured

    @property
    def table(self) -> LatencyTable:
        """The table measured on this device, else the first there is, be it predicted."""
        if self._table is None:
            raise BundleError(
                f"the engines of {self.path} were compiled for {self.manifest.target} where they "
                "could not run, and were measured nowhere yet: no policy can choose between them. "
                "On such a device, `elastiq check` runs them, and Bundle.execute at a named point"
            )
        return self._table

    def point(self, name: str) -> PointRecord:
        try:
            return self._points[name]
        except KeyError:
            raise unknown("point", name, self._points) from None

    def check(self) -> int:
        """Check every file against its digest, and that no file is there unnamed; count them."""
        self._trust(self.manifest.files)
        named = set(self.manifest.files) | {manifest.FILE}
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if not path.is_dir() and name not in named:
                raise BundleError(f"{path} is not named in the manifest: somebody added it")
        return len(self.manifest.files)

    def sensitivity(self) -> list[dict[str, Any]]:
        """What INT8 in each layer costs, per point and stage, where the build looked at it."""
        if SENSITIVITY not in self.manifest.files:
            return []
        return list(json.loads(self._trusted(SENSITIVITY).read_text()))

    def load(self, point: str) -> dict[str, Engine]:
        """The engines that a point's stages run on, loaded once and kept."""
        stages = self.point(point).stages
        return {stage: self.engine(record.engine) for stage, record in stages.items()}

    def engine(self, key: str) -> Engine:
        """One engine by key, loaded on first use; others may be loaded at the same time."""
        self._record(key)  # an unknown one gets no lock
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            if key not in self._engines:
                self._engines[key] = self.load_engine(key)
            return self._engines[key]

    def load_engine(self, key: str) -> Engine:
        """One engine by key, loaded for the caller, who closes it."""
        record = self._record(key)
        folder = f"{record.folder}/"
        self._trust([name for name in self.manifest.files if name.startswith(folder)])
        weights = [f"{WEIGHTS}/{weight}" for weight in record.weights]
        options = RunnerOptions(
            self.path / WEIGHTS, self.threads, self.share, partial(self._trust, weights)
        )
        runner: Runner = plugins.load("elastiq.runners", record.runner, "runner")
        engine = runner.load(inside(self.path, record.folder), options)
        heap.trim()
        return engine

    def execute(self, point: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer one request at one point, now, in this thread."""
        (answer,) = self.together(point, [inputs])
        return answer

    def together(self, point: str, requests: Sequence[Arrays]) -> list[Outputs]:
        """Answer as many requests as one run of a point takes, now, in this thread."""
        takes = self.point(point).takes
        if not 0 < len(requests) <= takes:
            raise ElastiqError(f"{point} answers at most {takes} at once, not {len(requests)}")
        answers = []
        for answer in self._run(point, requests, None).answers:
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return answers

    def session(self, name: str | None = None) -> Session:
        """Begin a sequence of requests, each answered from all that was sent before."""
        return self._own_worker(wait=True).session(name)

    def serve(
        self,
        policy: str = "utility",
        wait: bool = True,
        least_score: float = 0.0,
        most_score: float = inf,
        **options: Any,
    ) -> Worker:
        """A worker whose dispatcher picks the point for each request from the device's load, among
        those whose score is between the least and the most.

        Without `wait`, the cheapest point answers alone until the others are loaded.
        """
        table = self.table  # what nobody can choose by is refused before anything is loaded
        if not table.measured and not self._told:
            self._told = True
            log.warning(
                "%s: latencies are predicted for %s, and were measured nowhere. Choices get better "
                "as answers are timed; measure them: elastiq finalize",
                self.path,
                table.circumstances.get("data sheet of", table.device),
            )
        points = self._within(least_score, most_score)
        first, rest = (points, ()) if wait else (points[:1], points[1:])
        with ThreadPoolExecutor(device.this().cores, "elastiq-loader") as pool:
            list(pool.map(self.warm, [point.name for point in first]))
        sessions = Sessions(self.driver.begin) if isinstance(self.driver, Remembering) else None
        worker = serve(first, table, self._run, policy, sessions=sessions, **options)
        if rest:
            self._offer(worker, rest)
        return worker

    def _within(self, least: float, most: float) -> tuple[PointRecord, ...]:
        points = self.manifest.points
        found = tuple(point for point in points if least <= point.score <= most)
        if not found:
            known = ", ".join(f"{point.name} {point.score:g}" for point in points)
            raise ElastiqError(f"no point has a score from {least:g} to {most:g}: {known}")
        return found

    def _offer(self, worker: Worker, rest: Iterable[PointRecord]) -> None:
        """Load further points in the background, and let the worker use each that is ready."""
        pool = self._loaders = ThreadPoolExecutor(device.this().cores, "elastiq-loader")

        def load(point: PointRecord) -> None:
            try:
                self.warm(point.name)
            except ElastiqError as e:
                log.warning("%s is left out: %s", point.name, e)
            else:
                worker.offer(point)

        for point in rest:
            pool.submit(load, point)

    def warm(self, point: str) -> None:
        """Load a point and run its engines: a first run is slower than what the table promises."""
        for stage in self.point(point).stages.values():
            zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in stage.inputs}
            self.engine(stage.engine)(zeros)

    def infer(self, inputs: Arrays, deadline: float | None = None) -> dict[str, np.ndarray]:
        """Answer one request within `deadline` seconds, at the best point that makes it.

        The first one waits for the cheapest point to be loaded if it has a deadline, else for all.
        """
        worker = self._own_worker(wait=deadline is None)
        return worker.ask(inputs, deadline).outputs

    def _own_worker(self, wait: bool) -> Worker:
        with self._starting:
            if self._worker is None:
                self._worker = self.serve(wait=wait)
            return self._worker

    def settle(self) -> None:
        """Wait until what makes engines share memory is made, where this is the first time."""
        errands().settle()

    def samples(self) -> samples.Samples:
        """The evaluation samples that travel with the bundle."""
        return samples.load(self._trusted(SAMPLES))

    def close(self) -> None:
        with self._starting:
            worker, self._worker = self._worker, None
            loaders, self._loaders = self._loaders, None
        if loaders is not None:
            loaders.shutdown(cancel_futures=True)
        if worker is not None:
            worker.close()  # without the lock, which its last request may need
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
            self._ready.clear()

    def _run(self, point: str, requests: Sequence[Arrays], memory: Memory | None) -> Done:
        """What a worker's requests become; one that is wrong spoils no other's answer."""
        ready = self._ready.get(point) or self._prepare(point)
        found: list[Outputs | Exception] = []
        right: list[int] = []
        for place, request in enumerate(requests):
            try:
                self._check_inputs(point, request, memory)
            except ElastiqError as e:
                found.append(e)
            else:
                found.append({})
                right.append(place)
        run = Run(ready)
        if memory is not None and right:
            assert isinstance(self.driver, Remembering)
            found[0] = self.driver.step(run, memory, requests[0])
        elif right:
            answers = self.driver.answer(run, [requests[place] for place in right])
            for place, answer in zip(right, answers, strict=True):
                found[place] = answer
        return Done(found, run.ran)

    def _prepare(self, point: str) -> Ready:
        record = self.point(point)
        ready = Ready(self.load(point), record.settings, record.takes)
        self._ready[point] = ready
        return ready

    def _record(self, key: str) -> EngineRecord:
        try:
            return self._records[key]
        except KeyError:
            raise unknown("engine", key, self._records) from None

    def _trusted(self, name: str) -> Path:
        self._trust([name])
        return inside(self.path, name)

    def _trust(self, names: Iterable[str]) -> None:
        """Check files against their digests; each is read for that once, whoever waits for it."""
        with self._trusting:
            unchecked = {n: self._record_of(n) for n in names if n not in self._checked}
            paths = [inside(self.path, name) for name in unchecked]
            for path, record in zip(paths, unchecked.values(), strict=True):
                _check_size(path, record.size)
            for path, found, name in zip(paths, digest.of_files(paths), unchecked, strict=True):
                if found != unchecked[name].sha256:
                    raise BundleError(
                        f"{path} was altered: its digest does not match. Copy it again."
                    )
                self._checked.add(name)

    def _record_of(self, name: str) -> FileRecord:
        try:
            return self.manifest.files[name]
        except KeyError:
            raise BundleError(f"{self.path} has no {name}") from None

    def _read_table(self) -> LatencyTable | None:
        names = [name for name in self.manifest.files if name.startswith("profiles/")]
        if not names:
            return None
        own = f"profiles/{device.this().name}.json"
        path = self._trusted(own if own in names else names[0])
        try:
            return latency.read(digest.parse(path.read_bytes()), path.name)
        except ElastiqError as e:
            raise BundleError(f"{path}: {e}") from e

    def _check_inputs(self, point: str, inputs: Arrays, memory: Memory | None) -> None:
        if memory is not None and not inputs:
            return
        stages = self._inputs[point]
        if memory is None:
            wanted = self.driver.inputs(stages, inputs)
        else:
            assert isinstance(self.driver, Remembering)
            wanted = self.driver.next_inputs(stages)
        for spec in wanted:
            if spec.name not in inputs:
                names = [s.name for s in wanted]
                raise ElastiqError(f"input {spec.name!r} is missing. This model takes: {names}")
            array = inputs[spec.name]
            if array.shape != spec.shape or array.dtype != spec.dtype:
                raise ElastiqError(
                    f"input {spec.name!r} is {array.dtype}{list(array.shape)}; "
                    f"this model takes {spec.dtype}{list(spec.shape)}"
                )


def _folder(path: Path) -> Path:
    """Where a bundle's files lie: it may have come as an archive."""
    if not path.is_file():
        return path
    if not archive.is_archive(path):
        raise BundleError(f"{path} is neither a bundle's folder nor its archive")
    return archive.unpacked(path)


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as e:
        raise BundleError(f"{path} is missing: {e.strerror}. Copy the bundle again.") from e
    if found != size:
        raise BundleError(f"{path} has {found} bytes instead of {size}. Copy the bundle again.")
