"""Runs a graph with ONNX's own reference evaluator: right answers, slowly, with no toolchain.

For tests of the plumbing. `pause` lengthens every run to a known time.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from elastiq.errors import missing
from elastiq.protocols import Arrays, RunnerOptions

GRAPH = "graph.onnx"
SETTINGS = "fake.json"


class FakeEngine:
    """A reference evaluator that takes at least `pause` seconds."""

    def __init__(self, folder: Path, options: RunnerOptions) -> None:
        try:
            import onnx
            from onnx.reference import ReferenceEvaluator
        except ImportError as e:
            raise missing("onnx", "compile") from e
        model = onnx.load(folder / GRAPH, load_external_data=False)
        onnx.load_external_data_for_model(model, str(options.weights))
        self._pause = float(json.loads((folder / SETTINGS).read_text())["pause"])
        self._evaluator = ReferenceEvaluator(model)

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        end = time.perf_counter() + self._pause
        names = self._evaluator.output_names
        answers = dict(zip(names, self._evaluator.run(None, dict(inputs)), strict=True))
        time.sleep(max(0.0, end - time.perf_counter()))
        return answers

    def close(self) -> None:
        del self._evaluator


def load(folder: Path, options: RunnerOptions) -> FakeEngine:
    return FakeEngine(folder, options)
