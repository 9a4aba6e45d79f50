"""Profile: what each engine costs on this device, idle and while other programs take a share.

A machine drifts: within a minute others make it slower by a third, and leave it again. So all
levels of load have their turns, as all engines have within a level, and what a table says of any of
them is of the whole time that it took.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq import device, energy
from elastiq.burner import Burner
from elastiq.codec import decode, plain
from elastiq.footprint import Place, example
from elastiq.journal import Journal
from elastiq.latency import CPU, MEMORY, LatencyTable, Row
from elastiq.measure import Bench, Engines, Window, warm_up
from elastiq.protocols import Engine
from elastiq.records import TensorSpec
from elastiq.sensors import cpu

REVISION = 8  # of what this pass makes from the same inputs
ROWS = "rows.json"
JOURNAL = "windows.jsonl"  # every window that was measured
VISIT = 2  # windows of each engine at a level, before it is another level's turn
LOOK = 1.0  # seconds between two looks at the device: its clocks of load tick in hundredths


class Runnable(Protocol):
    """An engine that can be loaded here, and what it takes."""

    @property
    def key(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    def load(self, threads: int) -> Engine: ...
    def place(self, threads: int) -> Place: ...


@dataclass(frozen=True)
class Level:
    """What other programs do meanwhile: take a share of every core, and compute or stream."""

    load: float
    pressure: str = CPU

    def __str__(self) -> str:
        return f"{self.load:.0%} {'memory ' if self.pressure == MEMORY else ''}load"


IDLE = Level(0.0)


def levels(loads: Sequence[float], memory_loads: Sequence[float]) -> tuple[Level, ...]:
    """The levels in order, idle first. To stream for no time is to be idle."""
    streaming = (Level(load, MEMORY) for load in sorted(memory_loads) if load)
    return (*map(Level, sorted(loads)), *streaming)


def profile(
    engines: Sequence[Runnable],
    levels: Sequence[Level],
    seconds: float,
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> LatencyTable:
    """The latency table of these engines on the device."""
    circumstances = workshop.circumstances | {"threads": str(threads)}
    rows: list[Row] = []
    if levels:
        engines = tuple({engine.key: engine for engine in engines}.values())
        inputs = {
            "engines": sorted(engine.identity for engine in engines),
            "revision": REVISION,
            "levels": plain(levels),
            "seconds": seconds,
            "circumstances": circumstances,
        }
        label, size = f"profile at {', '.join(map(str, levels))}", len(levels) * len(engines)
        with progress.task(label, size) as task:
            make = partial(_measured, workshop, engines, levels, seconds, threads, task.advance)
            entry, task.cached = store.produce("profile", inputs, make, resumes=True)
        rows = [decode(Row, row, ROWS) for row in json.loads((entry / ROWS).read_text())]
    return LatencyTable(workshop.device.name, True, circumstances, tuple(rows))


def _measured(
    workshop: Workshop,
    engines: Sequence[Runnable],
    levels: Sequence[Level],
    seconds: float,
    threads: int,
    tell: Callable[[float], None],
    folder: Path,
) -> None:
    notes = workshop.notes(folder)
    tells = tell if notes else None  # else it runs in another process
    rows = workshop.run(on_device, engines, levels, seconds, threads, notes, tells)
    (folder / ROWS).write_text(json.dumps(rows))


def on_device(
    engines: Sequence[Runnable],
    levels: Sequence[Level],
    seconds: float,
    threads: int,
    notes: Path | None,
    tell: Callable[[float], None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of these engines, measured in this process; `tell` is told how much is done.

    A folder for notes keeps every window: if a process was killed before, this one goes on.
    """
    names = [built.key for built in engines]
    with ExitStack() as stack:
        folder = notes or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = stack.enter_context(Journal(folder / JOURNAL))
        stays = [_Stay(place, level, names, seconds) for place, level in enumerate(levels)]
        for note in journal.notes:
            stays[note["level"]].recall(note)
        turns = VISIT if len(stays) > 1 else None

        def looked() -> None:
            if tell:
                tell(sum(stay.share for stay in stays) / len(stays))

        for stay in stays:
            if not stay.bench.begun:  # by engines that were not run before
                with _loaded(engines, threads) as runs:
                    stay.measure(runs, journal, turns, looked)
        with ExitStack() as later:
            runs = {}
            while waiting := [stay for stay in stays if not stay.bench.done]:
                if not runs:
                    runs = later.enter_context(_loaded(engines, threads))
                    warm_up(runs)
                for stay in waiting:
                    stay.measure(runs, journal, turns, looked)
    return [plain(row) for stay in stays for row in stay.rows()]


@contextmanager
def _loaded(engines: Sequence[Runnable], threads: int) -> Iterator[Engines]:
    """A run of each engine."""
    with ExitStack() as stack:
        runs = {}
        for built in engines:
            engine = stack.enter_context(closing(built.load(threads)))
            runs[built.key] = partial(engine, example(built.inputs))
        yield runs


class _Stay:
    """What was measured at one level, in all its turns."""

    def __init__(self, place: int, level: Level, names: Sequence[str], seconds: float) -> None:
        self._place = place
        self._level = level
        # What a counter of the whole device says of a level with burners is mostly theirs.
        meter = energy.Meter([]) if level.load else energy.meter()
        self.bench = Bench(names, seconds, joules=meter.joules)
        self.share = 0.0  # done
        self._seen = _Seen()

    def recall(self, note: dict[str, Any]) -> None:
        """Count in what was noted before."""
        if "window" in note:
            self.bench.take(decode(Window, note["window"], JOURNAL))
        else:
            self._seen.looks.append(note["look"])

    def measure(
        self, runs: Engines, journal: Journal, turns: int | None, looked: Callable[[], None]
    ) -> None:
        """Some turns of each engine that wants them, after its first run; `looked` is called after
        each look at the device."""
        with Burner(self._level.load, streams=self._level.pressure == MEMORY):
            self._seen.begin()
            first = () if self.bench.begun else self.bench.begin(runs)
            for window in chain(first, self.bench.turns(runs, turns)):
                journal.note({"level": self._place, "window": plain(window)})
                if self._seen.due:
                    self._look(journal)
                    looked()
            self._look(journal)
            looked()

    def _look(self, journal: Journal) -> None:
        """At the device, and at what is done."""
        journal.note({"level": self._place, "look": self._seen.look()})
        self.share = self.bench.share

    def rows(self) -> list[Row]:
        # What the dispatcher's own sensor saw, not what was asked for: the machine had other work
        # too, and a busy kernel gives a burner less than it wants.
        load, level = self._seen.mean("others"), self._level
        return [
            Row(
                key,
                round(level.load if load is None else load, 2),
                taken.latency,
                level.pressure,
                taken.spread,
                taken.energy,
                self._seen.mean("clock"),
                self._seen.mean("temperature"),
            )
            for key, taken in self.bench.taken.items()
        ]


@dataclass
class _Seen:
    """The device while it was measured on: others' share of it, its clock and temperature."""

    looks: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        self._sensor = cpu.sensor()
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last > LOOK

    def look(self) -> dict[str, Any]:
        before, self._last = self._last, time.monotonic()
        found = {
            "seconds": self._last - before,
            "others": (self._sensor.read() or {}).get("others"),
            "clock": device.clock(),
            "temperature": device.temperature(),
        }
        self.looks.append(found)
        return found

    def mean(self, name: str) -> float | None:
        """Of all looks, each for as long as it was; None if there is none of it."""
        told = [(look[name], look["seconds"]) for look in self.looks if look[name] is not None]
        whole = sum(seconds for _, seconds in told)
        return sum(value * seconds for value, seconds in told) / whole if whole else None
