"""A Perceiver whose latent queries are nested: the first 4, 8, 16, 32 or 64 are a model each.

Cross-attention moves an image's tokens into Q latents, and everything after it costs as much as Q
does. Drawing Q anew at each training step makes every prefix of the queries work by itself
(https://arxiv.org/abs/2205.10873; the prefixes as in https://arxiv.org/abs/2405.19315).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import digits
from zoo.blocks import Attention, Block, ConvStem, PatchEmbedding

CHECKPOINT = Path(__file__).parent / "checkpoints" / "perceiver.safetensors"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Size:
    """What determines the shape of every weight; `patch=None` stands for a convolution stem."""

    image: int = 64
    channels: int = 1
    patch: int | None = None
    dim: int = 96
    layers: int = 6
    heads: int = 4
    classes: int = digits.CLASSES
    queries: tuple[int, ...] = (4, 8, 16, 32, 64)


SMALL = Size()
REALISTIC = Size(224, 3, 16, 512, 12, 8, 1000, (16, 32, 64, 128, 256))


def spread(n: int) -> Tensor:
    """`n` places in the unit square of which every prefix is evenly spread (Halton's sequence)."""

    def radical_inverse(i: int, base: int) -> float:
        return 0.0 if i == 0 else (i % base + radical_inverse(i // base, base)) / base

    return torch.tensor([[radical_inverse(i + 1, base) for base in (2, 3)] for i in range(n)])


def grid(side: int) -> Tensor:
    """The centres of `side` x `side` cells of the unit square, row by row."""
    line = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(line, line)


def nearness(places: Tensor, others: Tensor, width: Tensor) -> Tensor:
    """Scores that make each of `places` attend to `others` within its `width`.

    Bounded below, so that training can still widen the view, and INT8 can resolve the scores.
    """
    return (-0.5 * (torch.cdist(places, others) / width[:, None]) ** 2).clamp(min=-8)


class Perceiver(nn.Module):
    """Image tokens, one cross-attention into the first Q latents, blocks over those, a head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed: nn.Module = (
            PatchEmbedding(size.channels, size.dim, size.image, size.patch)
            if size.patch
            else ConvStem(size.channels, size.dim, size.image)
        )
        self.norm_tokens = nn.LayerNorm(size.dim)
        self.queries = nn.Parameter(torch.randn(max(size.queries), size.dim))
        self.gather = Attention(size.dim, size.heads)
        self.where = nn.Parameter(self._first_look(size))
        self.blocks = nn.Sequential(*(Block(size.dim, size.heads) for _ in range(size.layers)))
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, size.classes)

    @staticmethod
    def _first_look(size: Size) -> Tensor:
        """Where each head of each query looks before training: [heads, queries, tokens].

        The queries start out spread over the image, the first ones with the widest view, as they
        must do alone. Without this, training begins with a long search for where to look.
        """
        centres, tokens = spread(max(size.queries)), grid(size.image // (size.patch or 8))
        width = 0.5 / torch.arange(1, len(centres) + 1).sqrt()
        turns = 2 * torch.pi * (torch.arange(size.heads) + 0.5) / size.heads
        aside = torch.stack([turns.cos(), turns.sin()], -1)[:, None] * width[:, None] / 2
        return torch.stack([nearness(centres + a, tokens, width) for a in aside])

    def latents(self, image: Tensor, queries: int) -> Tensor:
        """What the first `queries` latents know of the image: [n, queries, dim]."""
        tokens = self.norm_tokens(self.embed(image))
        asked = self.queries[:queries].expand(len(image), -1, -1)
        bias = self.where[:, :queries]
        return self.norm(self.blocks(asked + self.gather(asked, tokens, bias)))

    def forward(self, image: Tensor, queries: int) -> Tensor:
        return self.head(self.latents(image, queries).mean(1))


class AtQueries(nn.Module):
    """The Perceiver at one fixed number of queries, sharing its weights."""

    def __init__(self, perceiver: Perceiver, queries: int) -> None:
        super().__init__()
        self.perceiver, self.queries = perceiver, queries

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.perceiver(image, self.queries)}


class SlotReader(nn.Module):
    """Training only: reads from the latents which digit stands in which slot.

    The label alone says too little about nine digits for reading to be learnt quickly from it.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(digits.SLOTS, size.dim))
        self.gather = Attention(size.dim, size.heads)
        latents, width = spread(max(size.queries)), torch.full((digits.SLOTS,), 0.12)
        where = nearness(digits.slot_places(), latents, width)
        self.where = nn.Parameter(where.expand(size.heads, -1, -1).clone())
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, digits.CLASSES + 1)

    def forward(self, latents: Tensor) -> Tensor:
        asked = self.slots.expand(len(latents), -1, -1)
        bias = self.where[..., : latents.shape[1]]
        return self.head(self.norm(asked + self.gather(asked, latents, bias)))


class Recipe:
    """What `zoo.train` needs to know: the modules to train and the loss of one step."""

    data = digits
    steps = 9000
    batch = 64
    learning_rate = 2e-3

    def __init__(self, control: str = "") -> None:
        """The control never sees fewer than all queries, so it shows what nesting buys."""
        self.perceiver = Perceiver(SMALL)
        self.reader = SlotReader(SMALL)
        self.drawn = SMALL.queries[-1:] if control else SMALL.queries

    @property
    def model(self) -> nn.Module:
        """The part that the checkpoint keeps."""
        return self.perceiver

    @property
    def trained(self) -> nn.ModuleList:
        return nn.ModuleList([self.perceiver, self.reader])

    def loss(self, batch: digits.Batch, rng: np.random.Generator, progress: float) -> Tensor:
        latents = self.perceiver.latents(batch.image, int(rng.choice(self.drawn)))
        logits = self.perceiver.head(latents.mean(1))
        slots = self.reader(latents).flatten(0, 1)
        return F.cross_entropy(logits, batch.label) + F.cross_entropy(slots, batch.slots.flatten())

    def accuracy(self, test: digits.Batch) -> dict[str, float]:
        """Top-1 at each number of queries."""
        found = {}
        for queries in SMALL.queries:
            right = [
                (self.perceiver(image, queries).argmax(1) == label).float()
                for image, label in zip(test.image.split(250), test.label.split(250), strict=True)
            ]
            found[f"queries={queries}"] = round(torch.cat(right).mean().item(), 4)
        return found


class ElasticPerceiver:
    """One Perceiver as Elastiq's model contract sees it; here with random weights and images."""

    name = "perceiver"
    driver = "oneshot"

    def __init__(self, size: Size, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.perceiver = Perceiver(size).eval()
        self.size = size

    def points(self) -> list[dict[str, int]]:
        """The operating points, cheapest first."""
        return [{"queries": queries} for queries in self.size.queries]

    def stages(self, point: dict[str, int]) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
        """The module of `point` with an example of its input; all points share their weights."""
        example = torch.rand(self._shape(1), generator=torch.Generator().manual_seed(0))
        return {"main": (AtQueries(self.perceiver, point["queries"]).eval(), {"image": example})}

    def calibration(self) -> Iterator[Arrays]:
        """Batches of inputs to measure activation ranges on, the same at each call."""
        rng = np.random.default_rng(3)
        for _ in range(8):
            yield {"image": rng.random(self._shape(4), dtype=np.float32)}

    def _shape(self, n: int) -> tuple[int, int, int, int]:
        return n, self.size.channels, self.size.image, self.size.image


class DigitsPerceiver(ElasticPerceiver):
    """The trained Perceiver that says which digit occurs most often on a canvas."""

    tested: int | None = None  # canvases of the test set; None: all

    def __init__(self, checkpoint: Path = CHECKPOINT) -> None:
        super().__init__(SMALL)
        if not checkpoint.exists():
            raise FileNotFoundError(f"{checkpoint}: run `python -m zoo.train perceiver`")
        self.perceiver.load_state_dict(load_file(checkpoint))

    def calibration(self) -> Iterator[Arrays]:
        """Canvases made from training digits, the same at each call."""
        rng = np.random.default_rng(3)
        for _ in range(8):
            yield {"image": digits.canvases("train", 64, rng).image.numpy()}

    def evaluate(self, predict: Callable[[Arrays], Arrays]) -> np.ndarray:
        """1 where `predict` is right and 0 where it is wrong, for each canvas of the test set."""
        test = digits.test_set()
        images, labels = test.image[: self.tested].split(100), test.label[: self.tested].split(100)
        scores = [
            predict({"image": image.numpy()})["logits"].argmax(1) == label.numpy()
            for image, label in zip(images, labels, strict=True)
        ]
        return np.concatenate(scores).astype(np.float64)


def model() -> DigitsPerceiver:
    """The trained model: what `zoo.perceiver:model` names."""
    return DigitsPerceiver()


def realistic() -> ElasticPerceiver:
    """The size of a deployed vision transformer, untrained: for measuring speed, not accuracy."""
    return ElasticPerceiver(REALISTIC)
