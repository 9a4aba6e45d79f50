"""A vision transformer for one glimpse after another that computes little twice.

The first K blocks, the iterator, see one glimpse alone; what they make of it is kept. The others,
the aggregator, answer from the mean of all class tokens and from all patch tokens kept
(https://arxiv.org/abs/2311.15335). K is drawn anew at each training step, so that one set of
weights runs at every split; at K=0 nothing is recycled. A small decoder learns to draw what was not
seen; where its attention is most spread out is the place to look at next.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import family, vit
from zoo.blocks import Block
from zoo.contract import Stages, trained, untrained
from zoo.digits import Batch
from zoo.family import Arrays, Predict
from zoo.glimpses import SMALL, GlimpseStem, PatchMap, Size, cut, glimpsed
from zoo.glyphs import PARTS

REALISTIC = Size(192, 3, 16, 3, 384, 12, 6, 1000, stem=False, splits=(8, 4, 0))


class Decoder(nn.Module):
    """Draws the patches that were not seen; its attention tells how sure it is of where to look."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        width = size.dim // 2
        self.narrow = nn.Linear(size.dim, width)
        self.positions = nn.Parameter(0.02 * torch.randn(size.side**2, width))
        self.unseen = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.drawing))
        self.norm = nn.LayerNorm(width)
        self.draw = nn.Linear(width, size.pixels)
        tiles = F.one_hot(size.places, size.side**2).float().mean(1)
        self.register_buffer("tiles", tiles, persistent=False)  # [glimpses, patches]

    def canvas(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Every patch of the image, seen or to be drawn, and whether it was seen: [n, patches]."""
        there = (places[..., None] == torch.arange(self.size.side**2)).to(tokens)
        seen = there.sum(1).clamp(max=1)
        known = there.transpose(1, 2) @ self.narrow(tokens)
        return known + (1 - seen)[..., None] * self.unseen + self.positions, seen

    def forward(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of every patch, and which were seen."""
        x, seen = self.canvas(tokens, places)
        for block in self.blocks:
            x = block(x)
        return self.draw(self.norm(x)), seen

    def uncertainty(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The entropy of the last block's attention at each glimpse, or -1 where one was seen."""
        x, seen = self.canvas(tokens, places)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        y = last.norm_attention(x)
        key, _ = last.attention.key_value(y).chunk(2, dim=-1)
        query, key = (
            z.unflatten(-1, (self.size.heads, -1)).transpose(1, 2)
            for z in (last.attention.query(y), key)
        )
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        entropy = -(weights * (weights + 1e-9).log()).sum(-1).mean(1)
        seen = seen @ self.tiles.T
        return torch.where(seen > 0, -torch.ones_like(seen), entropy @ self.tiles.T)


class TORE(nn.Module):
    """Embedding of glimpses, blocks that are split at K, a head, and the decoder beside them."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed: GlimpseStem | PatchMap = GlimpseStem(size) if size.stem else PatchMap(size)
        self.cls = nn.Parameter(0.02 * torch.randn(1, size.dim))
        self.blocks = nn.Sequential(*(Block(size.dim, size.heads) for _ in range(size.layers)))
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, size.classes)
        self.decoder = Decoder(size)

    def iterate(self, patches: Tensor, places: Tensor, split: int) -> Tensor:
        """Glimpses by themselves, [n, tokens, pixels], to [n, 1 + tokens, dim]."""
        tokens = self.embed(patches) + self.embed.positions[places]
        x = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)
        return self.blocks[:split](x)

    def aggregate(self, x: Tensor, split: int) -> Tensor:
        """The mean class token and all patch tokens, through the blocks that are left."""
        return self.norm(self.blocks[split:](x))

    def see(self, patches: Tensor, places: Tensor, split: int) -> Tensor:
        """Whole sequences at once, [n, glimpses, tokens, pixels], through all blocks."""
        glimpses = patches.shape[1]
        x = self.iterate(patches.flatten(0, 1), places.flatten(0, 1), split)
        x = x.unflatten(0, (-1, glimpses))
        return self.aggregate(torch.cat([x[:, :, :1].mean(1), x[:, :, 1:].flatten(1, 2)], 1), split)

    def forward(self, patches: Tensor, places: Tensor, split: int) -> Tensor:
        """The logits after the last glimpse."""
        return self.head(self.see(patches, places, split)[:, 0])


class GlimpseIterator(nn.Module):
    """One glimpse through the blocks before the split."""

    def __init__(self, network: TORE, split: int) -> None:
        super().__init__()
        self.network, self.split = network, split

    def forward(self, patches: Tensor, places: Tensor) -> dict[str, Tensor]:
        x = self.network.iterate(patches, places, self.split)
        return {"cls": x[:, :1], "tokens": x[:, 1:]}


class Aggregator(nn.Module):
    """The answer from what is kept of some glimpses."""

    def __init__(self, network: TORE, split: int) -> None:
        super().__init__()
        self.network, self.split = network, split

    def forward(self, cls: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        x = self.network.aggregate(torch.cat([cls, tokens], 1), self.split)
        return {"logits": self.network.head(x[:, 0])}


class Look(nn.Module):
    """Where to look next, from what is kept of some glimpses and where they were."""

    def __init__(self, network: TORE, split: int) -> None:
        super().__init__()
        self.network, self.split = network, split

    def forward(self, cls: Tensor, tokens: Tensor, places: Tensor) -> dict[str, Tensor]:
        x = self.network.aggregate(torch.cat([cls, tokens], 1), self.split)
        return {"attention": self.network.decoder.uncertainty(x[:, 1:], places)}


def explored(
    network: TORE, image: Tensor, glimpses: int, split: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The same, but only the first at random, the others where the network would look next."""
    size, rows = network.size, torch.arange(len(image))[:, None]
    patches = cut(image, size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randint(len(size.places), (len(image), 1), generator=generator)
    for _ in range(glimpses - 1):
        places = size.places[order]
        x = network.see(patches[rows, order], places, split)
        next_ = network.decoder.uncertainty(x[:, 1:], places.flatten(1)).argmax(1, keepdim=True)
        order = torch.cat([order, next_], 1)
    return patches[rows, order], size.places[order]


class Shown(NamedTuple):
    """Some glimpses of a batch, and what is true of them."""

    patches: Tensor
    places: Tensor
    label: Tensor
    cells: Tensor  # the digit that each patch seen holds a part of, if any
    pixels: Tensor  # of all patches, seen or not

    @staticmethod
    def of(batch: Batch, glimpses: int, seed: int) -> "Shown":
        patches, places = glimpsed(batch.image, glimpses, SMALL, seed)
        pixels = F.unfold(batch.image, SMALL.patch, stride=SMALL.patch).transpose(1, 2)
        cells = batch.slots.gather(1, places.flatten(1))
        return Shown(patches, places, batch.label, cells, pixels)

    def unseen(self, decoder: Decoder, x: Tensor) -> Tensor:
        """How wrong the decoder draws what was not seen."""
        drawn, seen = decoder(x[:, 1:], self.places.flatten(1))
        wrong = (drawn - self.pixels).square().mean(-1) * (1 - seen)
        return wrong.sum() / (1 - seen).sum().clamp(min=1)


class Recipe:
    """Learns to recycle from what it says itself when it does not, and so keeps that too.

    Each step sees some glimpses at every split that is offered.
    """

    data = PARTS
    steps = 3500
    batch = 64
    learning_rate = 1e-3

    def __init__(self, control: str = "") -> None:
        """The control goes on from the same start and never recycles."""
        self.model = TORE(SMALL)
        self.start()
        self.reader = vit.CellReader(vit.SMALL)
        self.trained = nn.ModuleList([self.model, self.reader])
        self.splits = (0,) if control else SMALL.splits

    def start(self) -> None:
        family.restore(self.model, "unsplit")

    def loss(self, batch: Batch, rng: np.random.Generator, progress: float) -> Tensor:
        """What is said at each split, which is taught by that at K=0; one of them draws."""
        shown = Shown.of(batch, self.glimpses(rng, progress), int(rng.integers(2**31)))
        teacher, *pupils = (
            self.model.see(shown.patches, shown.places, split) for split in sorted(self.splits)
        )
        seen = [teacher, *pupils]
        drawing = seen[int(rng.integers(len(seen)))]
        return (
            sum(self._said(x, shown) for x in seen)
            + sum(self._taught(x, teacher) for x in pupils)
            + 0.1 * shown.unseen(self.model.decoder, drawing)
        )

    def glimpses(self, rng: np.random.Generator, progress: float) -> int:
        """How many are seen in a step."""
        return int(rng.integers(1, SMALL.glimpses + 1))

    def _said(self, x: Tensor, shown: "Shown") -> Tensor:
        """Label, and what each token says of the cell it stands for."""
        label = F.cross_entropy(self.model.head(x[:, 0]), shown.label)
        return label + self.reader.loss(x[:, 1:], shown.cells)

    def _taught(self, x: Tensor, teacher: Tensor) -> Tensor:
        with torch.no_grad():
            says = self.model.head(teacher[:, 0]).softmax(-1)
        return F.cross_entropy(self.model.head(x[:, 0]), says)

    def accuracy(self, test: Batch) -> dict[str, float]:
        """Top-1 at each split, after 4, 8 and 12 glimpses."""
        found = {}
        for split in self.splits:
            for glimpses in (4, 8, 12):
                right = []
                for number, part in enumerate(family.in_parts(test, 250)):
                    seen = glimpsed(part.image, glimpses, SMALL, seed=number)
                    right.append(family.right(self.model(*seen, split), part.label))
                found[f"split={split} n={glimpses}"] = round(np.concatenate(right).mean(), 4)
        return found


class ElasticTORE:
    """The network as Elastiq's model contract sees it. Without a task it is shown noise."""

    name = "tore"
    driver = "sequence"

    def __init__(self, network: TORE, *, looks: bool = False) -> None:
        self.network, self.size, self.looks = network, network.size, looks

    @property
    def driver_settings(self) -> dict[str, int]:
        return {"glimpse_tokens": self.size.tokens, "glimpses": self.size.glimpses}

    def points(self) -> list[dict[str, int]]:
        """The splits, cheapest first; 0 recycles nothing."""
        return [{"split": split} for split in self.size.splits]

    def stages(self, point: dict[str, int]) -> Stages:
        """The iterator, and an aggregator for each number of glimpses kept; weights are shared."""
        split, size = point["split"], self.size
        patches, places = next(self._sequences(1))
        glimpse = {"patches": patches[:, 0], "places": places[:, 0]}
        stages: Stages = {"iterator": (GlimpseIterator(self.network, split).eval(), glimpse)}
        with torch.inference_mode():
            x = self.network.iterate(patches[0], places[0], split).clone()
        for n in range(1, size.glimpses + 1):
            kept = {"cls": x[:n, :1].mean(0, True), "tokens": x[None, :n, 1:].flatten(1, 2)}
            stages[f"aggregate{n}"] = (Aggregator(self.network, split).eval(), kept)
            if self.looks:
                seen = kept | {"places": places[:, :n].flatten(1)}
                stages[f"look{n}"] = (Look(self.network, split).eval(), seen)
        return stages

    def calibration(self) -> Iterator[Arrays]:
        """Sequences of glimpses to measure activation ranges on, the same at each call."""
        for patches, places in self._sequences(4):
            yield {"patches": patches.numpy(), "places": places.numpy()}

    def _sequences(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        shape = (n, self.size.channels, self.size.image, self.size.image)
        for number, batch in enumerate(family.noise(*shape)):
            image = torch.from_numpy(batch["image"])
            yield glimpsed(image, self.size.glimpses, self.size, seed=number)


class GlyphTORE(ElasticTORE):
    """The trained network that says which digit was seen in some glimpses of a canvas."""

    def calibration(self) -> Iterator[Arrays]:
        for number, batch in enumerate(family.training_canvases(PARTS.canvases)):
            patches, places = glimpsed(batch.image, self.size.glimpses, self.size, seed=number)
            yield {"patches": patches.numpy(), "places": places.numpy()}

    def evaluate(self, predict: Predict) -> np.ndarray:
        """Whether `predict` is right after the last of 12 glimpses, for 1,000 test canvases."""
        right = []
        for number, part in enumerate(family.in_parts(PARTS.test_set(1000), 250)):
            patches, places = glimpsed(part.image, self.size.glimpses, self.size, seed=number)
            answer = predict({"patches": patches.numpy(), "places": places.numpy()})
            right.append(family.right(answer["logits"], part.label))
        return np.concatenate(right)


def model() -> GlyphTORE:
    """The trained model: what `zoo.tore:model` names."""
    return GlyphTORE(trained(TORE, SMALL, "tore"))


def explorer() -> GlyphTORE:
    """The same with the stages that say where to look next."""
    return GlyphTORE(trained(TORE, SMALL, "tore"), looks=True)


def realistic() -> ElasticTORE:
    """The size of a deployed vision transformer, untrained: for measuring speed, not accuracy."""
    return ElasticTORE(untrained(TORE, REALISTIC))
