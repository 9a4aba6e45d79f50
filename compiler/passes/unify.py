"""Unify: the INT8 graphs of all points get the same scales, so that one plan can be all of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compiler.passes import quantize, trace
from compiler.progress import Progress
from compiler.store import Store
from elastiq.records import Graph
from targets import graphs, ranges

QUANTIZES = "QuantizeLinear"


def unify(int8: tuple[Graph, ...], store: Store, progress: Progress) -> tuple[Graph, ...]:
    """The same graphs, each activation with the largest scale that any point calibrated for it."""
    unified = []
    for graph in int8:
        with progress.task(f"unify {graph.point} {graph.stage}") as task:
            peers = [peer for peer in int8 if peer.stage == graph.stage]
            inputs = {
                "graph": graph.path.parent.name,
                "peers": [peer.path.parent.name for peer in peers],
            }
            entry, task.cached = store.produce("unify", inputs, partial(_unify, graph, peers))
        unified.append(replace(graph, path=entry / trace.FILE))
    return tuple(unified)


def _unify(graph: Graph, peers: Sequence[Graph], folder: Path) -> None:
    model = graphs.load(graph)
    widen(model, [graphs.load(peer) for peer in peers])
    graphs.save(model, folder / trace.FILE, graph.weights)
    trace.write_signature(folder, graph.inputs, graph.outputs)
    shutil.copytree(quantize.twin(graph).path.parent, folder / quantize.TWIN)


def widen(model: ModelProto, peers: Sequence[ModelProto]) -> None:
    """Give every quantized activation the largest of its scales in `peers`, by place."""
    scales = [_scales(peer) for peer in peers]
    if len({len(one) for one in scales}) > 1:
        return  # other layers are quantized at other points, which is for whoever joins them to say
    largest = [
        max(map(float, map(numpy_helper.to_array, found))) for found in zip(*scales, strict=True)
    ]
    for tensor, value in zip(_scales(model), largest, strict=True):
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        tensor.CopyFrom(numpy_helper.from_array(np.array(value, kind), tensor.name))


def _scales(model: ModelProto) -> list[TensorProto]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [
        node.input[1] for node in ranges.ordered(model).graph.node if node.op_type == QUANTIZES
    ]
    return [constants[name] for name in dict.fromkeys(names)]
