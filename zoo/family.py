"""What the families do alike: restore a checkpoint, draw calibration data, score answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.digits import Batch, Draw

CHECKPOINTS = Path(__file__).parent / "checkpoints"

Arrays = dict[str, np.ndarray]
Predict = Callable[[Arrays], Arrays]


def restore(network: nn.Module, family: str) -> None:
    """Fill the network with the family's trained weights."""
    checkpoint = CHECKPOINTS / f"{family}.safetensors"
    if not checkpoint.exists():
        raise FileNotFoundError(f"{checkpoint}: run `python -m zoo.train {family}`")
    network.load_state_dict(load_file(checkpoint))


def training_canvases(draw: Draw, batch: int = 64) -> Iterator[Batch]:
    """512 canvases made from training digits, the same at each call."""
    rng = np.random.default_rng(3)
    for _ in range(512 // batch):
        yield draw("train", batch, rng)


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
