"""Whether engines answer here as they did where they were verified."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elastiq.bundle import Bundle
from elastiq.drivers import Ready, Run
from elastiq.records import PointRecord

TOLERANCE = 0.02  # of the largest output: another CPU's kernels round INT8 sums otherwise
SAMPLES = 8


def largest_error(
    bundle: Bundle, point: PointRecord, golden: Mapping[str, np.ndarray] | None = None
) -> float:
    """How far a point's engines are off, in shares of the largest output.

    As many samples are answered at a time as when they were verified: who they come with may
    matter.
    """
    samples = bundle.samples()
    golden = golden or samples.outputs[point.name]
    engines = {stage: bundle.engine(record.engine) for stage, record in point.stages.items()}
    ready = Ready(engines, point.settings, point.takes)
    worst = 0.0
    for first in range(0, min(SAMPLES, len(samples)), point.takes):
        together = range(first, min(first + point.takes, len(samples)))
        requests = [samples.input(index) for index in together]
        answers = bundle.driver.answer(Run(ready), requests)
        for index, answer in zip(together, answers, strict=True):
            for name, expected in golden.items():
                scale = max(float(np.abs(expected).max()), 1e-6)
                worst = max(worst, float(np.abs(answer[name] - expected[index]).max()) / scale)
    return worst
