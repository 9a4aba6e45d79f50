"""Tracing: the graph computes what torch does, and a model that cannot be traced is explained."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compiler import source
from compiler.passes import export_check, trace
from compiler.progress import silent
from compiler.store import Store
from elastiq.errors import ElastiqError
from targets import graphs
from tests.conftest import MODELS


@pytest.fixture(scope="module")
def traced(tiny, store):
    return trace.trace(tiny, tiny.points, store, silent())


def test_each_point_has_a_graph_that_answers_as_torch_does(tiny, traced):
    assert [graph.point for graph in traced] == list(tiny.points)
    for graph in traced:
        stage = tiny.stages[graph.point]["main"]
        image = torch.randn(stage.inputs["image"].shape)
        session = onnxruntime.InferenceSession(graphs.load(graph).SerializeToString())
        (answer,) = session.run(["logits"], {"image": image.numpy()})
        with torch.no_grad():
            truth = stage.module(image)["logits"].numpy()
        np.testing.assert_allclose(answer, truth, rtol=1e-4, atol=1e-5)


def test_most_nodes_were_held_against_torch(traced):
    for graph in traced:
        check = json.loads((graph.path.parent / "check.json").read_text())
        assert check["nodes"] > 10
        assert check["worst_error"] < 1e-4


def test_the_graph_keeps_layernorm_and_gelu_whole_and_tells_nothing_of_this_machine(traced):
    for graph in traced:
        model = onnx.load(graph.path, load_external_data=False)
        ops = {node.op_type for node in model.graph.node}
        assert {"LayerNormalization", "Gelu"} <= ops
        assert "Attention" not in ops
        assert b"/" not in b"".join(
            p.value.encode() for n in model.graph.node for p in n.metadata_props
        )
        assert str(MODELS).encode() not in graph.path.read_bytes()


def test_points_share_the_files_of_their_large_weights(traced):
    from compiler.store import weights_of

    first, second = (set(weights_of(graph.path.parent)) for graph in traced)
    assert len(first & second) >= len(first) - 1  # the query table differs, all else is one file


def test_a_second_trace_finds_the_first(tiny, store, traced):
    again = trace.trace(tiny, tiny.points, store, progress := silent())
    assert again == traced
    assert all(task.cached for task in progress.tasks)


def test_a_changed_weight_is_traced_again(store, traced):
    changed = source.load(f"{MODELS / 'tiny.py'}:Tiny")
    with torch.no_grad():
        changed.stages[changed.points[0]]["main"].module.model.head.bias += 1
    again = trace.trace(changed, changed.points, store, silent())
    assert all(a.path != b.path for a, b in zip(again, traced, strict=True))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("DataDependent", r"at queries=1, stage 'main': its control flow or shapes depend"),
        ("UnknownOp", r"at queries=1.*linalg_eig.*in module 'spectrum'"),
        ("ShapeChanges", r"'output'.*\[1, 4\] at queries=2.*\[1, 3\] at queries=1"),
    ],
)
def test_what_cannot_be_traced_is_explained(tmp_path, name, said):
    model = source.load(f"{MODELS / 'broken.py'}:{name}")
    with pytest.raises(ElastiqError, match=said):
        trace.trace(model, model.points, Store(tmp_path), silent())


def test_a_graph_that_computes_something_else_is_caught_at_its_node(tiny):
    """The check itself: spoil one constant of an export, and the node after it is named."""
    stage = tiny.stages[tiny.points[0]]["main"]
    with trace._quiet(), torch.no_grad():
        program = trace._to_onnx(stage, "here", ["logits"])
    for initializer in program.model.graph.initializers.values():
        if initializer.name.endswith("norm.weight"):
            initializer.const_value = onnx_tensor(2.0 * initializer.const_value.numpy())
    with pytest.raises(ElastiqError, match=r"something else than torch at aten.layer_norm.*norm"):
        export_check.compare(program, stage, "here")


def onnx_tensor(array):
    import onnx_ir

    return onnx_ir.tensor(array)
