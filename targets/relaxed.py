"""ONNX graphs as modules of TVM's relax, with their large tensors outside, and compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from onnx import ModelProto
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import dlight

from elastiq.runners.tvm import PRODUCT
from targets.kernels import Product, Tiles, kernel

MAIN = "main"
MATMUL = tvm.ir.Op.get("relax.matmul")


@dataclass(frozen=True)
class Imported:
    """A module, and the tensors that its main function takes after its inputs."""

    module: Any
    weights: tuple[np.ndarray, ...]


def imported(model: ModelProto, smallest: int, tiles: Tiles) -> Imported:
    """The module of a graph. Tensors of `smallest` bytes and more stay outside.

    Products that have a tile become kernels of TVM's own, of weights that are packed at load.
    """
    module, given = relax.frontend.detach_params(from_onnx(model, keep_params_in_input=True))
    main = module[MAIN]
    variables = main.params[int(main.attrs["num_input"]) :]
    arrays = [tensor.numpy() for tensor in given.get(MAIN, ())]
    pairs = list(zip(variables, arrays, strict=True))
    small = {variable.name: array for variable, array in pairs if array.nbytes < smallest}
    weights = tuple(array for _, array in pairs if array.nbytes >= smallest)
    passes = [
        relax.transform.BindParams(MAIN, small),
        relax.transform.DecomposeOpsForInference(),
        *([_tiled(tiles)] if tiles else []),
        relax.transform.FoldConstant(),
        relax.transform.LiftTransformParams(),
    ]
    return Imported(tvm.transform.Sequential(passes)(module), weights)


def products(model: ModelProto) -> set[Product]:
    """The products with weights in a graph, whose shapes are known."""
    found: set[Product] = set()
    module = from_onnx(model, keep_params_in_input=True)
    relax.analysis.post_order_visit(
        module[MAIN],
        lambda e: found.update(filter(None, [_product_of(e)])),
    )
    return found


def _product_of(call: Any) -> Product | None:
    """The product that a node is, if its right side is a matrix and nothing else."""
    if not isinstance(call, relax.Call) or not call.op.same_as(MATMUL):
        return None
    left, right = (argument.ty for argument in call.args)
    if right.ndim != 2 or left.ndim < 2 or {str(left.dtype), str(right.dtype)} != {"float32"}:
        return None
    rows, depth = (int(size) for size in left.shape.values[-2:])
    return Product(rows, depth, int(right.shape.values[1]))


def _tiled(tiles: Tiles) -> Any:
    """The pass that makes products kernels, each with its tile."""

    @tvm.transform.module_pass(opt_level=0, name="Tiled")
    def tile(module: Any, context: Any) -> Any:
        change = _Tiling(module, tiles)
        change.builder_.update_func(module.get_global_var(MAIN), change.visit_expr(module[MAIN]))
        return change.builder_.finalize()

    return tile


@relax.expr_functor.mutator
class _Tiling(relax.PyExprMutator):
    def __init__(self, module: Any, tiles: Tiles) -> None:
        super().__init__(module)
        self._tiles = tiles

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        product = _product_of(call)
        tile = product and self._tiles.get(product)
        if not product or not tile:
            return call
        left, right = call.args
        alike = tuple(int(size) for size in left.ty.shape.values[:-2])
        blocks = (product.depth, product.columns // tile.columns, tile.columns)
        split = self.builder_.emit(relax.op.reshape(right, blocks))
        packed = self.builder_.emit(relax.op.permute_dims(split, (1, 0, 2)))
        function = self.builder_.add_func(kernel(product, tile, alike), "product")
        return relax.call_tir(function, (left, packed), out_ty=call.ty)


def for_cpu(module: Any, target: Any) -> Any:
    """An executable whose matrix products are calls of the device's library."""
    replaced = {"relax.matmul": _product}
    return _compiled(module, target, [relax.transform.LegalizeOps(replaced)], [])


def for_gpu(module: Any, target: Any) -> Any:
    """An executable of kernels that TVM writes itself."""
    gpu = dlight.gpu
    rules = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    return _compiled(
        module, target, [relax.transform.LegalizeOps()], [dlight.ApplyDefaultSchedule(*rules)]
    )


def _compiled(module: Any, target: Any, before: list[Any], after: list[Any]) -> Any:
    fuse = [
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    with target:
        module = tvm.transform.Sequential([*before, *fuse, *after])(module)
        return tvm.compile(module, target)


def _product(builder: Any, call: Any) -> Any:
    return relax.call_dps_packed(PRODUCT, relax.Tuple(call.args), out_ty=call.ty)
