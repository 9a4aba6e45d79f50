"""Trace: each stage of each point of a model becomes an ONNX graph that computes the same."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compiler.onnx_files import OnnxModule
from compiler.passes import export_check
from compiler.passes.adopt import adopt
from compiler.progress import Progress
from compiler.source import SourceModel, Stage, state_digest
from compiler.store import Store
from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError
from elastiq.records import Graph, Point, TensorSpec
from targets import graphs

REVISION = 2  # of what this pass makes from the same inputs
OPSET = 20  # the newest that keeps LayerNormalization and Gelu whole and emits no Attention op
FILE = "graph.onnx"
SIGNATURE = "signature.json"


def trace(
    model: SourceModel, points: tuple[Point, ...], store: Store, progress: Progress
) -> tuple[Graph, ...]:
    """One FP32 graph per point and stage, each checked node by node against torch."""
    traced = []
    entries: dict[Any, Path] = {}  # one object at several points is traced once
    for point in points:
        for name, stage in model.stages[point].items():
            if stage.identity not in entries:
                with progress.task(f"trace {point} {name}") as task:
                    entries[stage.identity], task.cached = _one(model, point, name, store)
            traced.append(read_graph(entries[stage.identity], point, name, "fp32", store))
    _check_outputs(model, traced)
    return tuple(traced)


def _one(model: SourceModel, point: Point, name: str, store: Store) -> tuple[Path, bool]:
    stage = model.stages[point][name]
    inputs = {
        "model": model.digest,
        "state": state_digest(stage.module),
        "example": {k: [str(v.dtype), list(v.shape)] for k, v in stage.inputs.items()},
        "point": point.name,
        "stage": name,
        "revision": REVISION,
        "opset": OPSET,
        "tools": {tool: version(tool) for tool in ("torch", "onnx", "onnxscript")},
    }
    where = f"{model.spec} at {point}, stage {name!r}"
    return store.produce("trace", inputs, partial(_export, stage, where, store.weights))


def _check_outputs(model: SourceModel, traced: list[Graph]) -> None:
    """A stage answers alike whatever the point, with a row for each request."""
    firsts: dict[str, Graph] = {}
    for graph in traced:
        first = firsts.setdefault(graph.stage, graph)
        for ours, theirs in zip(_rows(model, graph), _rows(model, first), strict=False):
            if ours != theirs or len(graph.outputs) != len(first.outputs):
                raise ElastiqError(
                    f"{model.spec}: output {ours.name!r} has shape {list(ours.shape)} at "
                    f"{graph.point} but {list(theirs.shape)} at {first.point}; "
                    "all points must answer alike"
                )


def _rows(model: SourceModel, graph: Graph) -> list[TensorSpec]:
    """A graph's outputs for one request."""
    takes = model.takes(graph.point)
    return [
        replace(spec, shape=(spec.shape[0] // takes, *spec.shape[1:])) if takes > 1 else spec
        for spec in graph.outputs
    ]


def read_graph(entry: Path, point: Point, stage: str, precision: str, store: Store) -> Graph:
    """The graph in a store entry, with the signature written beside it."""
    signature = json.loads((entry / SIGNATURE).read_text())
    inputs, outputs = (
        tuple(decode(TensorSpec, spec, SIGNATURE) for spec in signature[side])
        for side in ("inputs", "outputs")
    )
    return Graph(point, stage, precision, entry / FILE, store.weights, inputs, outputs)


def write_signature(
    folder: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    (folder / SIGNATURE).write_text(
        json.dumps({"inputs": plain(inputs), "outputs": plain(outputs)})
    )


def _export(stage: Stage, where: str, weights: Path, folder: Path) -> None:
    with _quiet(), torch.no_grad():
        outputs = _outputs(stage, where)
        if isinstance(stage.module, OnnxModule):
            nodes = 0
            model, worst = adopt(stage.module, stage.inputs, outputs, where)
        else:
            program = _to_onnx(stage, where, list(outputs))
            nodes, worst = export_check.compare(program, stage, where)
            model = program.model_proto
    _strip(model)
    graphs.fold_constants(model)
    graphs.save(model, folder / FILE, weights)
    inputs = {name: tensor.numpy() for name, tensor in stage.inputs.items()}
    write_signature(folder, _specs(inputs), _specs(outputs))
    (folder / "check.json").write_text(json.dumps({"nodes": nodes, "worst_error": worst}))


def _outputs(stage: Stage, where: str) -> dict[str, np.ndarray]:
    """What the module answers, by name: a dict names its outputs, a lone tensor is `output`."""
    try:
        answer = stage.module(**stage.inputs)
    except Exception as e:  # the module is the user's own code
        raise ElastiqError(f"{where}: the module fails on its own example: {e}") from e
    named = {"output": answer} if isinstance(answer, torch.Tensor) else answer
    if not isinstance(named, dict) or not all(isinstance(v, torch.Tensor) for v in named.values()):
        raise ElastiqError(f"{where}: the module must return a tensor or a dict of tensors")
    return {name: tensor.detach().numpy() for name, tensor in named.items()}


def _to_onnx(stage: Stage, where: str, outputs: list[str]) -> Any:
    try:
        exported = torch.export.export(stage.module, (), dict(stage.inputs))
    except Exception as e:  # torch.export raises many kinds, some of them private
        raise ElastiqError(f"{where}: {export_check.explain_capture(e)}") from e
    try:
        return torch.onnx.export(
            exported,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(stage.inputs),
            output_names=outputs,
            verbose=False,
        )
    except Exception as e:  # the exporter's errors are private, and an op's own code may raise
        raise ElastiqError(f"{where}: {export_check.explain_conversion(exported, e)}") from e


def _strip(model: Any) -> None:
    """Drop what torch notes of the source: paths of this machine do not belong in a bundle."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.functions[:]
    model.graph.name = "main"


def _specs(arrays: dict[str, np.ndarray]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, str(a.dtype), tuple(a.shape)) for name, a in arrays.items())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on packages that a user does not need away from them."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
