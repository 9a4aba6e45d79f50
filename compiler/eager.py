"""The source model in torch, driven as its engines will be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from compiler.source import SourceModel, Stage
from elastiq.drivers import Outputs, Ready, Run
from elastiq.protocols import Arrays
from elastiq.records import Point


@dataclass(frozen=True)
class TorchEngine:
    """A stage of the source model, called as an engine is."""

    stage: Stage

    def __call__(self, inputs: Arrays) -> Outputs:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
        with torch.no_grad():
            answer = self.stage.module(**tensors)
        named = {"output": answer} if isinstance(answer, torch.Tensor) else answer
        return {name: tensor.numpy() for name, tensor in named.items()}

    def close(self) -> None:
        pass


def ready(model: SourceModel, point: Point) -> Ready:
    """A point of the model, for its driver."""
    engines = {name: TorchEngine(stage) for name, stage in model.stages[point].items()}
    return Ready(engines, dict(point.settings), model.takes(point))


class Recording(Run):
    """Keeps what each stage was fed, and what it made of it."""

    __slots__ = ("calls",)

    def __init__(self, ready: Ready) -> None:
        super().__init__(ready)
        self.calls: dict[str, list[tuple[Arrays, Outputs]]] = {name: [] for name in ready.engines}

    def __call__(self, stage: str, inputs: Arrays) -> Outputs:
        outputs = super().__call__(stage, inputs)
        self.calls[stage].append((inputs, outputs))
        return outputs


def rehearse(
    model: SourceModel, point: Point, requests: Iterable[Arrays]
) -> dict[str, list[tuple[Arrays, Outputs]]]:
    """What every stage of a point is fed by these requests, and answers."""
    recording = Recording(ready(model, point))
    for request in requests:
        model.driver.rehearse(recording, request)
    return recording.calls
