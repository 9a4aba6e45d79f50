"""A backend without a toolchain: ships the graph to ONNX's reference evaluator. For tests only."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastiq.errors import missing
from elastiq.records import Graph
from elastiq.runners.fake import GRAPH, SETTINGS

name = "fake"
runner = "fake"
precisions = frozenset({"fp32", "int8"})
on_device = False
joins = False
measures = False
integer_products = True


@dataclass(frozen=True)
class Settings:
    """None."""


def toolchain() -> str:
    try:
        return f"onnx {version('onnx')}"
    except PackageNotFoundError as e:
        raise missing("onnx", "compile") from e


def build(graph: Graph, out: Path, settings: Settings) -> None:
    from onnx.reference import ReferenceEvaluator

    from targets import graphs
    from targets.refusal import refusal

    model = graphs.load(graph)
    try:
        ReferenceEvaluator(model)
    except RuntimeError as e:  # of which NotImplementedError is one
        raise refusal("ONNX's evaluator", graph, model, e) from e
    shutil.copyfile(graph.path, out / GRAPH)
    (out / SETTINGS).write_text(json.dumps({"pause": 0.0}))
