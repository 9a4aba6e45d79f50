"""A backend without a toolchain: ships the graph to ONNX's reference evaluator. For tests only."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from elastiq.records import Graph
from elastiq.runners.fake import GRAPH, SETTINGS

name = "fake"
runner = "fake"
precisions = frozenset({"fp32", "int8"})
on_device = False


def toolchain() -> str:
    return f"onnx {version('onnx')}"


def build(graph: Graph, out: Path) -> None:
    shutil.copyfile(graph.path, out / GRAPH)
    (out / SETTINGS).write_text(json.dumps({"pause": 0.0}))
