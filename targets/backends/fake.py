"""A backend without a toolchain: ships the graph to ONNX's reference evaluator. For tests only."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastiq.errors import missing
from elastiq.records import Graph
from elastiq.runners.fake import GRAPH, SETTINGS

name = "fake"
runner = "fake"
precisions = frozenset({"fp32", "int8"})
on_device = False


def toolchain() -> str:
    try:
        return f"onnx {version('onnx')}"
    except PackageNotFoundError as e:
        raise missing("onnx", "compile") from e


def build(graph: Graph, out: Path) -> None:
    shutil.copyfile(graph.path, out / GRAPH)
    (out / SETTINGS).write_text(json.dumps({"pause": 0.0}))
