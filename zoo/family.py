"""What the families do alike: restore a checkpoint, draw calibration data, score answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.digits import Batch, Draw

CHECKPOINTS = Path(__file__).parent / "checkpoints"

Arrays = dict[str, np.ndarray]
Predict = Callable[[Arrays], Arrays]


def restore(network: nn.Module, family: str) -> None:
    """Fill the network with the family's trained weights."""
    network.load_state_dict(weights(family))


def weights(family: str) -> dict[str, Tensor]:
    """The family's trained weights, in single precision."""
    checkpoint = CHECKPOINTS / f"{family}.safetensors"
    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint}: run `python -m zoo.train {family}`")
    return {name: tensor.float() for name, tensor in load_file(checkpoint).items()}


def record(name: str) -> dict[str, Any]:
    """How a checkpoint, or a control, came about."""
    path = CHECKPOINTS / f"{name}.json"
    if not path.exists():
        family, _, control = name.partition("-")
        flag = f" --{control}" if control else ""
        raise FileNotFoundError(f"{path}: run `python -m zoo.train {family}{flag}`")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def training_canvases(draw: Draw, batch: int = 64) -> Iterator[Batch]:
    """512 canvases made from training digits, the same at each call."""
    rng = np.random.default_rng(3)
    for _ in range(512 // batch):
        yield draw("train", batch, rng)


def scores(predict: Predict, test: Batch, size: int = 100) -> np.ndarray:
    """1 where `predict` is right and 0 where it is wrong, for each label of the test set."""
    return np.concatenate(
        [
            right(predict({"image": part.image.numpy()})["logits"], part.label)
            for part in in_parts(test, size)
        ]
    )


def noise(*shape: int) -> Iterator[Arrays]:
    """Images for a network that has seen none."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        yield {"image": rng.random(shape, dtype=np.float32)}


def in_parts(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch, `size` canvases at a time."""
    for parts in zip(*(tensor.split(size) for tensor in batch), strict=True):
        yield Batch(*parts)


def right(logits: np.ndarray | Tensor, label: Tensor) -> np.ndarray:
    """1 where the largest of the logits is the label's."""
    return (np.asarray(logits).argmax(-1) == label.numpy()).astype(np.float64)
