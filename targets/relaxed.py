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

MAIN = "main"


@dataclass(frozen=True)
class Imported:
    """A module, and the tensors that its main function takes after its inputs."""

    module: Any
    weights: tuple[np.ndarray, ...]


def imported(model: ModelProto, smallest: int) -> Imported:
    """The module of a graph. Tensors of `smallest` bytes and more stay outside."""
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
        relax.transform.FoldConstant(),
        relax.transform.LiftTransformParams(),
    ]
    return Imported(tvm.transform.Sequential(passes)(module), weights)


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
