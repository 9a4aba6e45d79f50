"""Where an ONNX file's tensors lie, changed without the onnx package: onnx itself must agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from elastiq import onnxfile


def outside(name):
    tensor = numpy_helper.from_array(np.zeros((300, 2), np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "file"), ("offset", "4096"), ("length", "2400")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(name, tensors, nodes=()):
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    inside = numpy_helper.from_array(np.arange(3, dtype=np.float32), f"{name} inside")
    return helper.make_graph(list(nodes), name, [], [output], [inside, *tensors])


@pytest.fixture
def model():
    """Tensors in the graph, in a branch, and inside and outside of the file."""
    branches = {f"{side}_branch": graph(side, [outside(f"in {side}")]) for side in ("then", "else")}
    node = helper.make_node("If", ["condition"], ["y"], alpha=1.5, **branches)
    return helper.make_model(graph("main", [outside("one"), outside("two")], [node]))


def test_places_are_those_that_onnx_sees(model):
    expected = {"location": "file", "offset": "4096", "length": "2400"}
    assert onnxfile.places(model.SerializeToString()) == [expected] * 4


def test_moving_changes_places_and_nothing_else(model):
    long = "x" * 300

    def move(place):
        return {"location": long, "offset": "0", "length": place["length"], "more": "1|2;3;0"}

    moved = onnx.load_from_string(onnxfile.relocate(model.SerializeToString(), move))
    tensors = [*moved.graph.initializer]
    tensors += [
        t for a in moved.graph.node[0].attribute if a.HasField("g") for t in a.g.initializer
    ]
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL:
            places = {entry.key: entry.value for entry in tensor.external_data}
            assert places == move({"length": "2400"})
            tensor.ClearField("external_data")
            for key, value in (("location", "file"), ("offset", "4096"), ("length", "2400")):
                tensor.external_data.add(key=key, value=value)
    assert moved == model


@pytest.mark.parametrize("damage", [b"\xff", b"\x3a\xff\xff\xff\x7fx", b"\x3b", b"\x80" * 30])
def test_what_is_no_onnx_file_is_refused(damage):
    with pytest.raises(ValueError, match="ONNX file"):
        onnxfile.places(damage)
