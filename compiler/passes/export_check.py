"""Checks of an export: node by node against torch, and words for what could not be exported."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from compiler.source import Stage
from elastiq.errors import ElastiqError

TOLERANCE = 1e-3  # of the largest value of a tensor; float32 kernels differ by about 1e-6


def compare(program: Any, stage: Stage, where: str) -> tuple[int, float]:
    """Run torch and ONNX on the example and on random inputs, and hold every node that both name
    against the other. Returns how many nodes were compared and the largest relative error."""
    session, names = _opened_up(program.model_proto)
    nodes, worst = 0, 0.0
    for inputs in (stage.inputs, _random_like(stage.inputs)):
        expected = _torch_values(program.exported_program.module(), inputs)
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        actual = dict(zip(names, session.run(names, feed), strict=True))
        compared = [name for name in names if name in expected]
        nodes = len(compared)
        for name in compared:
            error = relative_error(actual[name], expected[name])
            worst = max(worst, error)
            if not error <= TOLERANCE:
                raise ElastiqError(
                    f"{where}: the ONNX graph computes something else than torch at "
                    f"{_describe(program.exported_program, name)}: relative error {error:.2g}"
                )
    return nodes, worst


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in shares of the largest expected value."""
    if actual.shape != expected.shape:
        return float("inf")
    if not actual.size:
        return 0.0
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-6))


def explain_capture(error: Exception) -> str:
    """Why torch.export refused a module, in words that say what to change."""
    text = str(error)
    kind = type(error).__name__
    line = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', text)
    own = [found for found in line if "/torch/" not in found[0]]
    place = f" (at {own[-1][0]}:{own[-1][1]}, in {own[-1][2]})" if own else ""
    if "DataDependent" in kind or "data-dependent" in text.lower():
        return (
            "its control flow or shapes depend on the input's values"
            f"{place}. Make it a static graph: torch.where instead of if, a fixed number of tokens"
        )
    return f"torch cannot capture it{place}: {kind}: {_first_line(text)}"


def explain_conversion(exported: Any, error: Exception) -> str:
    """Which module and op the ONNX exporter refused."""
    text = _chain(error)
    # The exporter complains of ops as they are after decomposition; their modules stay the same.
    for node in (*exported.graph.nodes, *exported.run_decompositions().graph.nodes):
        if node.op == "call_function" and str(node.target) in text:
            return (
                f"ONNX has no counterpart of {node.target} in module {_module(node)!r}. "
                "Replace it in the model by ops that ONNX has"
            )
    return f"it cannot be exported to ONNX: {_first_line(text)}"


def _opened_up(model: Any) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """A session that runs the graph as it stands and answers every value in it."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {output.name for output in opened.graph.output}
    for node in opened.graph.node:
        for name in node.output:
            if name and name not in known:
                opened.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, [output.name for output in session.get_outputs()]


class _Recorder(torch.fx.Interpreter):
    """Runs a traced module and keeps every tensor by the name of its node."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, np.ndarray] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        value = super().run_node(node)
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            self.values[node.name] = value.detach().numpy().copy()
        return value


def _torch_values(module: Any, inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    recorder = _Recorder(module)
    recorder.run(*inputs.values())
    return recorder.values


def _random_like(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(t.shape, generator=generator).to(t.dtype) if t.is_floating_point() else t
        for name, t in inputs.items()
    }


def _describe(exported: Any, name: str) -> str:
    for node in exported.graph.nodes:
        if node.name == name:
            return f"{node.target} in module {_module(node)!r}"
    return repr(name)


def _module(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else "the model itself"


def _chain(error: BaseException | None) -> str:
    text = ""
    while error is not None:
        text += f"{error}\n"
        error = error.__cause__ or error.__context__
    return text


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
