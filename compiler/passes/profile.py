"""Profile: what each engine costs on this device, idle and while other programs take a share."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
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
from elastiq.measure import Bench, Window
from elastiq.protocols import Engine
from elastiq.records import TensorSpec
from elastiq.sensors import cpu

REVISION = 4  # of what this pass makes from the same inputs
ROWS = "rows.json"
JOURNAL = "windows.jsonl"  # every window that was measured
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
    """The latency table of these engines on the device, one level after another."""
    rows: list[Row] = []
    engines = tuple({engine.key: engine for engine in engines}.values())
    circumstances = workshop.circumstances | {"threads": str(threads)}
    for level in levels:
        with progress.task(f"profile at {level}") as task:
            inputs = {
                "engines": sorted(engine.identity for engine in engines),
                "revision": REVISION,
                "level": plain(level),
                "seconds": seconds,
                "circumstances": circumstances,
            }
            make = partial(_measured, workshop, engines, level, seconds, threads)
            entry, task.cached = store.produce("profile", inputs, make, resumes=True)
        found = json.loads((entry / ROWS).read_text())
        rows.extend(decode(Row, row, ROWS) for row in found)
    return LatencyTable(workshop.device.name, True, circumstances, tuple(rows))


def _measured(
    workshop: Workshop,
    engines: Sequence[Runnable],
    level: Level,
    seconds: float,
    threads: int,
    folder: Path,
) -> None:
    notes = workshop.notes(folder)
    rows = workshop.run(on_device, engines, level, seconds, threads, notes)
    (folder / ROWS).write_text(json.dumps(rows))


def on_device(
    engines: Sequence[Runnable], level: Level, seconds: float, threads: int, notes: Path | None
) -> list[dict[str, Any]]:
    """The rows of these engines at one level, measured in this process, all in turns.

    A folder for notes keeps every window: if a process was killed before, this one goes on.
    """
    with ExitStack() as stack:
        runs = {}
        for built in engines:
            engine = built.load(threads)
            stack.callback(engine.close)
            feed = example(built.inputs)
            runs[built.key] = lambda engine=engine, feed=feed: engine(feed)
        folder = notes or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = stack.enter_context(Journal(folder / JOURNAL))
        stack.enter_context(Burner(level.load, streams=level.pressure == MEMORY))
        # What a counter of the whole device says of a level with burners is mostly theirs.
        meter = energy.meter() if not level.load else energy.Meter([])
        bench = Bench(runs, seconds, joules=meter.joules)
        seen = _Seen()
        for note in journal.notes:
            if "window" in note:
                bench.take(decode(Window, note["window"], JOURNAL))
            else:
                seen.looks.append(note["look"])
        seen.begin()
        for window in bench.run():
            journal.note({"window": plain(window)})
            if seen.due:
                journal.note({"look": seen.look()})
        journal.note({"look": seen.look()})
    # What the dispatcher's own sensor saw, not what was asked for: the machine had other work
    # too, and a busy kernel gives a burner less than it wants.
    load = seen.mean("others")
    return [
        plain(
            Row(
                key,
                round(level.load if load is None else load, 2),
                taken.latency,
                level.pressure,
                taken.spread,
                taken.energy,
                seen.mean("clock"),
                seen.mean("temperature"),
            )
        )
        for key, taken in bench.taken.items()
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
