"""A model's points as the device runs them: its driver over its engines, one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import store
from compiler import eager, source
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import Variant, group, verify
from compiler.progress import Progress
from compiler.source import SourceModel
from elastiq.drivers import Ready, Remembering, Run
from elastiq.protocols import Arrays
from elastiq.records import Point, Quality

BACKEND = "onnxruntime"
REQUESTS = 16  # different ones, where what they cost depends on what they show


@dataclass(frozen=True)
class Driven:
    """A model with its engines, by point and precision."""

    model: SourceModel
    variants: dict[tuple[str, str], Variant]

    def quality(self) -> dict[tuple[str, str], Quality]:
        """How good the engines' answers are, through the driver."""
        engines = tuple(e for v in self.variants.values() for e in v.engines.values())
        found = verify(self.model, engines, 1, store(), Progress(len(self.variants))).verified
        return {_key(one.variant): one.quality for one in found}

    def ready(self, point: Point, precision: str = "fp32") -> Ready:
        engines = self.variants[str(point), precision].engines
        loaded = {stage: engine.load(threads=1) for stage, engine in engines.items()}
        return Ready(loaded, dict(point.settings), self.model.takes(point))

    def work(self) -> dict[tuple[str, str], tuple[Callable[[], object], int]]:
        """What to time for each point and precision, and how many requests it answers."""
        runs = {}
        for variant in self.variants.values():
            runs[_key(variant)] = self._rounds(self.ready(variant.point, variant.precision))
        return runs

    def gflops(self, point: Point) -> float:
        """Of one request, all glimpses if it is a sequence of them."""
        for stage in self.model.stages[point].values():
            stage.module.requires_grad_(False)  # the counter stumbles over views of what does
        counter = FlopCounterMode(display=False)
        with counter:
            work, count = self._rounds(eager.ready(self.model, point))
            work()
        return counter.get_total_flops() / count / 1e9

    def _rounds(self, ready: Ready) -> tuple[Callable[[], object], int]:
        driver = self.model.driver
        if isinstance(driver, Remembering):
            (request,) = self.requests(1)
            glimpses = [
                {name: array[:, place] for name, array in request.items()}
                for place in range(next(iter(request.values())).shape[1])
            ]
            return (lambda: _sequence(driver, ready, glimpses)), 1
        requests = self.requests(max(REQUESTS, ready.takes))
        parts = [requests[i : i + ready.takes] for i in range(0, len(requests), ready.takes)]
        if len(self.model.stages[self.model.points[0]]) == 1:
            parts = parts[:1]  # a static engine takes as long for any other
        count = sum(len(part) for part in parts)
        return (lambda: [driver.answer(Run(ready), part) for part in parts]), count

    def requests(self, count: int) -> list[Arrays]:
        """The first calibration samples, one by one."""
        batches = self.model.calibration(count)
        whole = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        return [{name: array[i : i + 1] for name, array in whole.items()} for i in range(count)]


def driven(
    spec: str, precisions: tuple[str, ...] = ("fp32", "int8"), among: tuple[str, ...] = ()
) -> Driven:
    """The model that `spec` names, compiled for ONNX Runtime at all its points or `among` these."""
    model, kept = source.load(spec), store()
    points = tuple(point for point in model.points if not among or str(point) in among)
    progress = Progress(sum(len(model.stages[point]) for point in points))
    graphs = fp32 = trace(model, points, kept, progress)
    if "int8" in precisions:
        feeds = Feeds(model, model.calibration())
        graphs = (*fp32, *quantize(fp32, feeds, Method(), kept, progress))
    engines = compile(graphs, (BACKEND,), kept, progress).engines
    return Driven(model, {_key(variant): variant for variant in group(engines)})


def _sequence(driver: Remembering, ready: Ready, glimpses: list[Arrays]) -> None:
    """A session: every glimpse is answered."""
    memory = driver.begin()
    for glimpse in glimpses:
        driver.step(Run(ready), memory, glimpse)


def _key(variant: Variant) -> tuple[str, str]:
    return str(variant.point), variant.precision
