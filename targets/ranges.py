"""The graphs of all points as one, whose knob is the size of an input.

Points whose knob is a prefix, such as nested queries, differ in two kinds of constants only:
tensors of which a cheaper point has the first rows, and shapes that name their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

COUNT = "knob.count"
SIZE = "knob"


class NotAlike(Exception):
    """Graphs that differ in more than the size of a prefix: what the difference is."""


@dataclass(frozen=True)
class Ranged:
    """One graph for all points: `knob` is its input that has each point's size, by point."""

    model: ModelProto
    knob: str
    values: tuple[np.ndarray, ...]


def merged(models: Sequence[ModelProto]) -> Ranged:
    """One graph of several, in the order of `models`. Raises NotAlike."""
    if len(models) < 2:
        raise NotAlike("there is one point only")
    models = [ordered(model) for model in models]
    _check(models)
    differing = list(_differing(models))
    tensors = [d for d in differing if d.axis is not None]
    if not tensors:
        raise NotAlike("no tensor has the size of the knob")
    sizes = tensors[0].sizes
    for one in differing:
        one.check(sizes)
    largest = int(np.argmax(sizes))
    model = ModelProto()
    model.CopyFrom(models[largest])
    knob = min(tensors, key=lambda d: d.arrays[largest].nbytes)
    name = knob.names[largest]
    made = [*_count(name, knob.axis)]
    for one in differing:
        if one is not knob:
            made += one.replaced(model, largest, sizes[largest])
    _to_input(model, name, knob.axis)
    nodes = [*made, *model.graph.node]
    del model.graph.value_info[:]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return Ranged(model, name, knob.arrays)


@dataclass(frozen=True)
class _Differing:
    """A constant in the same place of every graph, with other contents."""

    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]

    @property
    def axis(self) -> int | None:
        """Along which the tensors have different sizes; None for a shape."""
        shapes = np.array([a.shape for a in self.arrays])
        apart = np.flatnonzero((shapes != shapes[0]).any(0))
        return int(apart[0]) if len(apart) == 1 else None

    @property
    def sizes(self) -> list[int]:
        return [array.shape[self.axis or 0] for array in self.arrays]

    def check(self, sizes: list[int]) -> None:
        """Refuse what is no prefix of the largest, nor a shape that names the knob's size."""
        largest = self.arrays[int(np.argmax(sizes))]
        if self.axis is not None:
            fits = self.sizes == sizes and all(
                np.array_equal(np.take(largest, range(size), self.axis), array)
                for size, array in zip(sizes, self.arrays, strict=True)
            )
        else:
            fits = largest.dtype == np.int64 and largest.ndim == 1
            fits = fits and all(
                (array[array != largest] == size).all()
                and (largest[array != largest] == max(sizes)).all()
                for size, array in zip(sizes, self.arrays, strict=True)
            )
        if not fits:
            raise NotAlike(f"constant {self.names[0]!r} differs in more than the knob's size")

    def replaced(self, model: ModelProto, largest: int, size: int) -> list[NodeProto]:
        """Nodes that make this point's constant of the largest one's, under its name."""
        name = self.names[largest]
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        if self.axis is not None:
            tensor.name = f"{name}.whole"
            ends = [f"{name}.first", f"{name}.axis"]
            for end, value in zip(ends, (0, self.axis), strict=True):
                model.graph.initializer.append(_numbers(end, [value]))
            inputs = [tensor.name, ends[0], COUNT, ends[1]]
            return [helper.make_node("Slice", inputs, [name], f"{name}.prefix")]
        model.graph.initializer.remove(tensor)
        varying = np.any([a != self.arrays[largest] for a in self.arrays], axis=0)
        parts = []
        for place, (value, varies) in enumerate(zip(self.arrays[largest], varying, strict=True)):
            if varies:
                parts.append(COUNT)
            else:
                parts.append(f"{name}.{place}")
                model.graph.initializer.append(_numbers(parts[-1], [int(value)]))
        return [helper.make_node("Concat", parts, [name], f"{name}.shape", axis=0)]


def ordered(model: ModelProto) -> ModelProto:
    """The nodes in the order that the outputs demand them, whatever they are called."""
    made = ModelProto()
    made.CopyFrom(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    order: list[NodeProto] = []
    placed: set[str] = set()
    wanted = [output.name for output in reversed(model.graph.output)]
    while wanted:
        node = makers.get(wanted[-1])
        if node is None or node.output[0] in placed:
            wanted.pop()
            continue
        missing = [
            name for name in node.input if name in makers and makers[name].output[0] not in placed
        ]
        if missing:
            wanted += reversed(missing)
        else:
            placed.add(node.output[0])
            order.append(node)
    del made.graph.node[:]
    made.graph.node.extend(order)
    return made


def _check(models: Sequence[ModelProto]) -> None:
    """The same ops, with the same attributes, joined in the same way, to the same ends."""
    first = models[0].graph
    for model in models[1:]:
        graph, renamed = model.graph, {v.name: v.name for v in model.graph.input}
        if list(graph.input) != list(first.input) or list(graph.output) != list(first.output):
            raise NotAlike("their inputs or outputs differ")
        if len(graph.node) != len(first.node):
            raise NotAlike("they have different numbers of nodes")
        constants = {tensor.name for tensor in graph.initializer}
        for ours, theirs in zip(graph.node, first.node, strict=True):
            same = (ours.op_type, ours.domain) == (theirs.op_type, theirs.domain)
            same = same and list(ours.attribute) == list(theirs.attribute)
            pairs = zip(ours.input, theirs.input, strict=False)
            wired = all(renamed.get(a, a) == b for a, b in pairs if a not in constants)
            if not (same and wired and len(ours.input) == len(theirs.input)):
                raise NotAlike(f"node {theirs.name!r} ({theirs.op_type}) differs")
            renamed |= dict(zip(ours.output, theirs.output, strict=True))


def _differing(models: Sequence[ModelProto]) -> Iterator[_Differing]:
    constants = [{t.name: t for t in model.graph.initializer} for model in models]
    seen = set()
    for nodes in zip(*(model.graph.node for model in models), strict=True):
        for names in zip(*(node.input for node in nodes), strict=True):
            if names in seen or not all(n in c for n, c in zip(names, constants, strict=True)):
                continue
            seen.add(names)
            arrays = tuple(
                numpy_helper.to_array(c[n]) for n, c in zip(names, constants, strict=True)
            )
            if any(a.ndim != arrays[0].ndim for a in arrays):
                raise NotAlike(f"constant {names[0]!r} has different numbers of dimensions")
            if not all(np.array_equal(a, arrays[0]) for a in arrays):
                yield _Differing(names, arrays)


def _count(knob: str, axis: int | None) -> list[NodeProto]:
    assert axis is not None
    return [helper.make_node("Shape", [knob], [COUNT], COUNT, start=axis, end=axis + 1)]


def _to_input(model: ModelProto, name: str, axis: int | None) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    shape = [SIZE if place == axis else size for place, size in enumerate(tensor.dims)]
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model.graph.initializer.remove(tensor)


def _numbers(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)
