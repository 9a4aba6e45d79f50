"""What the families have alike of Elastiq's model contract."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from zoo import family
from zoo.family import Arrays, Predict
from zoo.glyphs import WHOLE

Sized = TypeVar("Sized")
Network = TypeVar("Network", bound=nn.Module)
Stages = dict[str, tuple[nn.Module, dict[str, Tensor]]]


class Shaped(Protocol):
    """The size of a network that is given images."""

    def shape(self, n: int) -> tuple[int, int, int, int]: ...


def untrained(network: Callable[[Sized], Network], size: Sized) -> Network:
    """A network with random weights, the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network(size).eval()


def trained(network: Callable[[Sized], Network], size: Sized, name: str) -> Network:
    """A network with a family's trained weights."""
    made = untrained(network, size)
    family.restore(made, name)
    return made


class At(nn.Module):
    """A network with its knob at one setting, sharing its weights."""

    def __init__(self, network: nn.Module, **settings: int) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.network(image, **self.settings)}


class OneStage:
    """A network that one engine at each point stands for. Without a task it is shown noise."""

    driver = "oneshot"

    def __init__(self, network: Any) -> None:
        self.network = network
        self.size: Shaped = network.size

    def at(self, point: dict[str, int]) -> At:
        return At(self.network, **point)

    def images(self, point: dict[str, int]) -> int:
        """How many one run answers for."""
        return 1

    def stages(self, point: dict[str, int]) -> Stages:
        """The module of `point` with an example of its input; all points share their weights."""
        shape = self.size.shape(self.images(point))
        example = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return {"main": (self.at(point).eval(), {"image": example})}

    def calibration(self) -> Iterator[Arrays]:
        """Batches of inputs to measure activation ranges on, the same at each call."""
        return family.noise(*self.size.shape(4))


class ReadsGlyphs:
    """The task of the networks that say which digit is on a canvas."""

    def calibration(self) -> Iterator[Arrays]:
        """Canvases made from training digits, the same at each call."""
        for batch in family.training_canvases(WHOLE.canvases):
            yield {"image": batch.image.numpy()}

    def evaluate(self, predict: Predict) -> np.ndarray:
        """1 where `predict` is right and 0 where it is wrong, for each canvas of the test set."""
        return family.scores(predict, WHOLE.test_set())
