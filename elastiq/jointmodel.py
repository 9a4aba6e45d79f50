"""One OpenVINO model of several that take and give the same: it packs the weights that they have in
common once, where models of their own would each pack them for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

PLACE = "elastiq:place"  # the input that says which of them is to answer


def join(runtime: ModuleType, models: Sequence[Any]) -> Any:
    """A model that answers as the one of these whose place it is told. They are used up."""
    names = [port.get_names() for port in (*models[0].inputs, *models[0].outputs)]
    for model in models:
        _turn(runtime.opset13, model)
    place, inputs = _parameters(runtime, models[0])
    answers = _either(runtime, models, 0, place, inputs)
    made = runtime.Model([runtime.opset13.result(one) for one in answers], [place, *inputs])
    for port, name in zip((*made.inputs, *made.outputs), ({PLACE}, *names), strict=True):
        port.set_names(name)
    return made


def _turn(ops: ModuleType, model: Any) -> None:
    """Weights as the CPU's kernels want them, a row for each output: else each branch turns them,
    into memory of its own."""
    for op in model.get_ordered_ops():
        if op.get_type_name() != "MatMul" or op.get_attributes()["transpose_b"]:
            continue
        weight = op.input_value(1).get_node()
        if weight.get_type_name() != "Constant" or len(weight.shape) != 2:
            continue
        turned = ops.constant(np.ascontiguousarray(weight.data.T))
        turned.set_friendly_name(weight.get_friendly_name())
        flipped = op.get_attributes()["transpose_a"]
        product = ops.matmul(op.input_value(0), turned, flipped, True)
        product.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(product.output(0))


def _parameters(runtime: ModuleType, model: Any) -> tuple[Any, list[Any]]:
    """What says which is to answer, and what that one takes."""
    ops = runtime.opset13
    given = [ops.parameter(p.get_partial_shape(), p.get_element_type()) for p in model.inputs]
    return ops.parameter([], runtime.Type.i32), given


def _either(
    runtime: ModuleType, models: Sequence[Any], first: int, place: Any, inputs: Sequence[Any]
) -> list[Any]:
    """The outputs of one of these models, the first of which is at such a place."""
    ops, half = runtime.opset13, len(models) // 2
    chosen = ops.if_op(ops.less(place, ops.constant(np.int32(first + half))).output(0))
    early = _branch(runtime, models[:half], first)
    late = _branch(runtime, models[half:], first + half)
    chosen.set_then_body(early[0])
    chosen.set_else_body(late[0])
    for given, *taken in zip((place, *inputs), early[1], late[1], strict=True):
        if taken != [None, None]:
            chosen.set_input(given.output(0), *taken)
    results = zip(early[0].get_results(), late[0].get_results(), strict=True)
    return [chosen.set_output(*both) for both in results]


def _branch(runtime: ModuleType, models: Sequence[Any], first: int) -> tuple[Any, list[Any]]:
    """A model, and what it takes: its place, where it is more than one, and the inputs."""
    if len(models) == 1:
        return models[0], [None, *models[0].get_parameters()]
    place, inputs = _parameters(runtime, models[0])
    answers = _either(runtime, models, first, place, inputs)
    results = [runtime.opset13.result(one) for one in answers]
    return runtime.Model(results, [place, *inputs]), [place, *inputs]
