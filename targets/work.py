"""What a graph has to compute and to move, kernel by kernel, as a compiler would fuse it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx
from onnx import ModelProto, NodeProto

from elastiq.records import Graph

# A view costs nothing; what is pointwise is done on the way out of the kernel before, and costs
# neither a start nor a way through memory.
VIEWS = frozenset({
    "Cast", "Constant", "DequantizeLinear", "Expand", "Flatten", "Identity", "QuantizeLinear",
    "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
POINTWISE = frozenset({
    "Abs", "Add", "And", "Clip", "Div", "Equal", "Erf", "Exp", "Gelu", "Greater", "Less",
    "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Sigmoid",
    "Sqrt", "Sub", "Tanh", "Where",
})  # fmt: skip
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """A step that is started on its own."""

    name: str
    operations: int  # a multiplication and its addition are two
    narrow: int  # elements moved that are 8-bit integers
    wide: int  # elements moved that are floating point
    integer: bool  # its products are of 8-bit integers


def work(graph: Graph) -> list[Kernel]:
    """The kernels of a graph in order. What has no static shape is left out."""
    model = onnx.load(graph.path, load_external_data=False)
    return _Counting(model).kernels()


class _Counting:
    """One look at a model whose tensors may stay where they are."""

    def __init__(self, model: ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self._shapes = {value.name: _shape(value) for value in values}
        self._shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
        self._makers = {name: node for node in inferred.node for name in node.output}
        self._nodes = inferred.node

    def kernels(self) -> list[Kernel]:
        found = [node for node in self._nodes if node.op_type not in VIEWS | POINTWISE]
        return [self._kernel(node) for node in found if self._known(node)]

    def _known(self, node: NodeProto) -> bool:
        return all(
            self._shapes.get(name) is not None for name in (*node.input, *node.output) if name
        )

    def _kernel(self, node: NodeProto) -> Kernel:
        shapes = [self._shapes[name] or () for name in node.input if name]
        made = sum(prod(self._shapes[name] or ()) for name in node.output if name)
        product = PRODUCTS.get(node.op_type)
        narrow = {name for name in node.input if product and self._quantized(name)}
        read = [(name in narrow, prod(self._shapes[name] or ())) for name in node.input if name]
        return Kernel(
            name=node.name,
            operations=made * (2 * product(node, shapes) if product else 1),
            narrow=sum(size for is_narrow, size in read if is_narrow),
            wide=made + sum(size for is_narrow, size in read if not is_narrow),
            integer=len(narrow) >= 2,
        )

    def _quantized(self, name: str) -> bool:
        """Whether a value comes out of a dequantization, on whichever way through views."""
        maker = self._makers.get(name)
        while maker is not None and maker.op_type != "DequantizeLinear":
            if maker.op_type not in VIEWS or not maker.input:
                return False
            maker = self._makers.get(maker.input[0])
        return maker is not None


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    dims = value.type.tensor_type.shape.dim
    if any(not dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _matmul(node: NodeProto, shapes: list[Shape]) -> int:
    return shapes[0][-1]


def _gemm(node: NodeProto, shapes: list[Shape]) -> int:
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return shapes[0][0 if turned else 1]


def _conv(node: NodeProto, shapes: list[Shape]) -> int:
    return prod(shapes[1][1:])


# By how many products each element of the output is the sum of.
PRODUCTS: Mapping[str, Callable[[NodeProto, list[Shape]], int]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
