"""Rewrites a portable INT8 graph into the form that x86 dot-product instructions want."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import ModelProto
from onnx_ir.passes import common
from onnxscript.rewriter import pattern

# Scales, that is, so that equal roundings become one. Weights stand once on disk as it is, and ONNX
# Runtime makes unsigned ones of some, each with its zero points: that fails where these are shared.
SCALAR = 1
MIDDLE = 128  # a signed int8 value plus this is the same value as uint8


def lower(model: ModelProto) -> ModelProto:
    """Quantize, dequantize twice, multiply (and add a bias) becomes one integer product.

    Weights keep their bytes; activations become unsigned, which u8 x s8 instructions take.
    """
    graph = ir.from_proto(model)
    rules = [_rule(_with_bias), _rule(_without_bias)]
    for rule in rules:
        pattern.RewriteRuleSet([rule], commute=True).apply_to_model(graph)
    graph.opset_imports.setdefault("com.microsoft", 1)
    for tidy in (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True),
        common.DeduplicateInitializersPass(size_limit=SCALAR),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
    ):
        tidy(graph)
    return ir.to_proto(graph)


def _product(op: Any, x: Any, scale: Any, zero: Any, weight: Any, w_scale: Any, w_zero: Any) -> Any:
    quantized = op.QuantizeLinear(x, scale, zero)
    left = op.DequantizeLinear(quantized, scale, zero)
    right = op.DequantizeLinear(weight, w_scale, w_zero)
    return op.MatMul(left, right)


def _without_bias(
    op: Any, x: Any, scale: Any, zero: Any, weight: Any, w_scale: Any, w_zero: Any
) -> Any:
    return _product(op, x, scale, zero, weight, w_scale, w_zero)


def _with_bias(
    op: Any, x: Any, scale: Any, zero: Any, weight: Any, w_scale: Any, w_zero: Any, bias: Any
) -> Any:
    return op.Add(_product(op, x, scale, zero, weight, w_scale, w_zero), bias)


def _integer_product(
    op: Any, x: Any, scale: Any, weight: Any, w_scale: Any, bias: Any = None, **_: Any
) -> Any:
    middle = op.Constant(value=ir.tensor(np.array(MIDDLE, np.uint8)))
    quantized = op.QuantizeLinear(x, scale, middle)
    return op.MatMulIntegerToFloat(
        quantized, weight, scale, w_scale, middle, None, bias, _domain="com.microsoft"
    )


def _applies(
    context: Any, zero: Any, weight: Any, w_scale: Any, w_zero: Any, bias: Any = None, **_: Any
) -> bool:
    """Symmetric int8 on both sides, FP32 around them, and a bias that is one constant vector."""
    zeros = [ir.convenience.get_const_tensor(value) for value in (zero, w_zero)]
    symmetric = all(
        z is not None and z.dtype == ir.DataType.INT8 and not z.numpy().any() for z in zeros
    )
    scale = ir.convenience.get_const_tensor(w_scale)
    if not symmetric or scale is None or scale.dtype != ir.DataType.FLOAT:
        return False
    if ir.convenience.get_const_tensor(weight) is None:
        return False
    if bias is None:
        return True
    vector = ir.convenience.get_const_tensor(bias)
    return vector is not None and len(vector.shape) == 1


def _rule(target: Any) -> pattern.RewriteRule:
    # Matched nodes may serve other products too; what is left unused is removed afterwards.
    return pattern.RewriteRule(target, _integer_product, _applies, remove_nodes=False)
