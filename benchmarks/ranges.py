"""Ways to choose the ranges of activations, before any layer is given back.

    python -m benchmarks ranges

The trained Perceiver, alone and with outlier channels (`benchmarks/outliers.py`), all its layers in
INT8: what each way costs in accuracy on 4,000 test samples, at the worse of the cheapest and the
costliest point.
"""

from __future__ import annotations

import itertools

from benchmarks.harness import Figure, store
from benchmarks.quantization import EASY, HARD, RECIPE, SAMPLES, verified
from calibration.ranges import METHODS
from compiler import source
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store


def run() -> list[Figure]:
    kept = store()
    with Progress(200) as progress:
        return [
            figure
            for spec in (EASY, HARD)
            for figure in _compared(source.load(spec), kept, progress)
        ]


def _compared(model: SourceModel, kept: Store, progress: Progress) -> list[Figure]:
    fp32 = trace(model, (model.points[0], model.points[-1]), kept, progress)
    feeds = Feeds(model, model.calibration(SAMPLES), SAMPLES)
    figures = []
    for smooth, ranges in itertools.product((True, False), METHODS):
        method = Method(RECIPE, ranges, smooth, SAMPLES)
        int8 = quantize(fp32, feeds, method, kept, progress)
        worse = max(found.quality.drop for found in verified(model, int8, kept, progress))
        how = f"{ranges}{', smoothed' if smooth else ''}"
        figures.append(Figure(f"{model.name}: {how}", worse, "points"))
    return figures
