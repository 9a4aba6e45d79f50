"""Budget: INT8 engines that cost too much give their most sensitive layers back, one by one.

Runs only where a point is over the budget. Every trial is an entry in the store, so that a search
that is stopped goes on where it was.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from calibration import layers, search
from calibration.sensitivity import SAMPLES, Sensitivity, sensitivities
from compiler.bench import medians
from compiler.passes import quantize, trace
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.verify import Verified, verify
from compiler.progress import Progress, silent
from compiler.source import SourceModel
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq.codec import decode, plain
from elastiq.records import Graph
from profiles.choice import over
from targets import graphs

QUANTIZED = "int8"
LAYERS = "layers.json"
SECONDS = "seconds.json"
MEASURING = 1.0  # seconds per variant, to tell what giving back costs
NAMED = 4  # layers in a reason; all of them are in the graph


@dataclass(frozen=True)
class Spending:
    """What accuracy may be spent, and what time on keeping to it."""

    drop: float
    seconds: float
    threads: int


def keep_to_budget(
    model: SourceModel,
    verified: tuple[Verified, ...],
    feeds: Feeds,
    spending: Spending,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> tuple[Verified, ...]:
    """The variants as they are, but those over budget in INT8, which give back what they must."""
    kept = []
    for found in verified:
        if found.variant.precision == QUANTIZED and over(found.quality, spending.drop):
            with progress.task(f"budget {found.variant}"):
                found = _Search(model, found, feeds, spending, store, workshop).run()
        kept.append(found)
    return tuple(kept)


def rank(graph: Graph, feeds: Feeds, store: Store) -> tuple[Sensitivity, ...]:
    """The layers of an INT8 graph, the most sensitive first."""
    data = feeds.of(graph, SAMPLES)
    inputs = {"graph": graph.path.parent.name, "calibration": data.digest}

    def make(folder: Path) -> None:
        found = sensitivities(graphs.load(graph), graphs.load(quantize.twin(graph)), data)
        (folder / LAYERS).write_text(json.dumps(plain(found)))

    entry, _ = store.produce("sensitivity", inputs, make)
    return tuple(decode(Sensitivity, s, LAYERS) for s in json.loads((entry / LAYERS).read_text()))


@dataclass(frozen=True)
class LayersOf:
    """The layers of one stage at one point in INT8, the most sensitive first."""

    point: str
    stage: str
    layers: tuple[Sensitivity, ...]


def look(
    int8: tuple[Graph, ...],
    verified: tuple[Verified, ...],
    feeds: Feeds,
    everywhere: bool,
    store: Store,
    progress: Progress,
) -> tuple[LayersOf, ...]:
    """The sensitivity of layers at points that gave some back or tried to, or at all points."""
    searched = {found.variant.point for found in verified if found.note}
    seen = [graph for graph in int8 if everywhere or graph.point in searched]
    found = []
    for graph in seen:
        with progress.task(f"sensitivity {graph.point} {graph.stage}"):
            ranked = rank(graph, feeds, store)
        found.append(LayersOf(graph.point.name, graph.stage, ranked))
    return tuple(found)


@dataclass(frozen=True)
class _Search:
    model: SourceModel
    over: Verified
    feeds: Feeds
    spending: Spending
    store: Store
    workshop: Workshop

    def run(self) -> Verified:
        """The variant that gave back the fewest layers and holds, or the old one, with a note."""
        start, tried = time.monotonic(), set[int]()

        def holds(count: int) -> bool:
            tried.add(count)
            return not over(self._trial(count).quality, self.spending.drop)

        def in_time() -> bool:
            return time.monotonic() - start < self.spending.seconds

        most = len(self._ranked) - 1  # with all of them back it is the higher precision itself
        count = search.fewest(most, holds, in_time)
        if count is None:
            why = "" if in_time() else f", then the {self.spending.seconds:g} s were over"
            note = f"tried giving back {_listed(tried)} of {most + 1} layers{why}"
            return replace(self.over, note=note)
        found = self._trial(count)
        return replace(found, note=self._told(found, count))

    @cached_property
    def _ranked(self) -> list[tuple[str, str]]:
        """Stages and layers of all of them, the most sensitive first."""
        ranked = []
        for stage, built in self.over.variant.engines.items():
            found = rank(built.graph, self.feeds, self.store)
            ranked += [(s.sqnr, stage, s.layer) for s in found]
        return [(stage, layer) for _, stage, layer in sorted(ranked)]

    def _trial(self, count: int) -> Verified:
        """The variant with the `count` most sensitive layers back: made, and held to the model."""
        variant = self.over.variant
        mixed = tuple(
            self._mixed(built.graph, sorted(la for st, la in self._ranked[:count] if st == stage))
            for stage, built in variant.engines.items()
        )
        terms = next(iter(variant.engines.values())).terms
        where = (self.store, silent())
        compiled = compile(mixed, (variant.backend,), *where, terms, self.workshop)
        threads = self.spending.threads
        return verify(self.model, compiled.engines, threads, *where, self.workshop).verified[0]

    def _mixed(self, graph: Graph, back: list[str]) -> Graph:
        if not back:
            return graph

        def make(folder: Path) -> None:
            model = layers.give_back(graphs.load(graph), graphs.load(quantize.twin(graph)), back)
            graphs.save(model, folder / trace.FILE, graph.weights)
            trace.write_signature(folder, graph.inputs, graph.outputs)

        inputs = {"graph": graph.path.parent.name, "back": back}
        entry, _ = self.store.produce("given-back", inputs, make)
        return replace(graph, path=entry / trace.FILE)

    def _told(self, found: Verified, count: int) -> str:
        before, after = self._seconds(found)
        names = [layer for _, layer in self._ranked[:count]]
        more = f" and {count - NAMED} more" if count > NAMED else ""
        return (
            f"{count} of {len(self._ranked)} layers given back ({', '.join(names[:NAMED])}{more})"
            f", which brings the drop from {self.over.quality.drop:.2f} to "
            f"{found.quality.drop:.2f} points and costs {1000 * (after - before):.2f} ms"
        )

    def _seconds(self, found: Verified) -> tuple[float, float]:
        """What the engines take with all layers in INT8, and with some given back."""
        pair = (self.over.variant, found.variant)
        inputs = {
            "engines": [sorted(e.folder.name for e in v.engines.values()) for v in pair],
            "circumstances": self.workshop.circumstances,
            "threads": self.spending.threads,
        }

        def make(folder: Path) -> None:
            whose = [(place, e) for place, v in enumerate(pair) for e in v.engines.values()]
            groups, engines = zip(*whose, strict=True)
            terms = (groups, self.spending.threads, MEASURING)
            found = self.workshop.run(medians, engines, *terms)
            (folder / SECONDS).write_text(json.dumps(found))

        entry, _ = self.store.produce("given-back-cost", inputs, make)
        before, after = json.loads((entry / SECONDS).read_text())
        return before, after


def _listed(counts: set[int]) -> str:
    return ", ".join(str(count) for count in sorted(counts)) or "none"
