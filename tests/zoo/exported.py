"""A stage of a zoo model as the tree exports it, run by ONNX Runtime."""

import uuid
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from compiler.passes.trace import trace
from compiler.progress import silent
from compiler.source import Namespace, SourceModel
from compiler.store import Store
from targets import graphs


class OneStage:
    """A single stage as a model of its own."""

    name = "stage"
    driver = "oneshot"

    def __init__(self, module: nn.Module, inputs: dict[str, Tensor]) -> None:
        self.stage = module, inputs
        self.fingerprint = uuid.uuid4().hex

    def points(self) -> list[dict[str, int]]:
        return [{"point": 0}]

    def stages(self, point: dict[str, int]) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
        return {"main": self.stage}


class Exported:
    """Called as the module is."""

    def __init__(self, module: nn.Module, inputs: dict[str, Tensor], store: Store) -> None:
        model = SourceModel("stage", OneStage(module, inputs), Namespace(Path.cwd()), [])
        (graph,) = trace(model, model.points, store, silent())
        self._session = onnxruntime.InferenceSession(
            graphs.load(graph).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
        answers = self._session.run(self._names, feed)
        return {n: torch.from_numpy(a) for n, a in zip(self._names, answers, strict=True)}


def assert_equals_torch(
    module: nn.Module, inputs: dict[str, Tensor], store: Store, *others: dict[str, Tensor]
) -> None:
    """The exported stage answers as the module does, on the example and on other inputs."""
    exported = Exported(module, inputs, store)
    for given in (inputs, *others):
        with torch.no_grad():
            expected = module(**given)
        answer = exported(**given)
        assert answer.keys() == expected.keys()
        for name, tensor in expected.items():
            np.testing.assert_allclose(answer[name], tensor, rtol=1e-4, atol=1e-4)
