"""A vision transformer that decides for each image which patches, heads and blocks it needs.

The masked model is trained as in https://arxiv.org/abs/2111.15668, from a dense one: before each
block from the second on, the class token decides on heads and branches, each patch on itself. That
only masks. To be faster in fact, this departs from the paper: every decision is then hoisted
behind the first block, so that one policy network makes them all; the policies seen on validation
images are gathered into a few nested buckets; and each bucket becomes a backbone of its own, from
which heads and branches are removed, and which is given the best tokens only.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import digits, family
from zoo.contract import Network, ReadsGlyphs, Stages, trained, untrained
from zoo.digits import Batch
from zoo.family import Arrays
from zoo.glyphs import WHOLE
from zoo.policy import Policy, masked
from zoo.sliced import Sliced
from zoo.vit import SMALL, DenseViT, Size, ViT

COVERED = (0.3, 0.6, 0.9, 1.0)  # the share of validation images that a bucket is enough for
FIRST = 1e4  # the class token's score, so that it is always kept
REALISTIC = Size(224, 3, 16, 384, SMALL.layers, SMALL.heads, 1000)


class AdaViT(nn.Module):
    """A vision transformer, the heads that decide what of it is used, and its buckets."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size, self.vit = size, ViT(size)
        deciding = size.layers - 1
        self.gate = nn.ModuleList(nn.Linear(size.dim, size.heads + 2) for _ in range(deciding))
        self.keep = nn.ModuleList(nn.Linear(size.dim, 1) for _ in range(deciding))
        for linear in (*self.gate, *self.keep):
            nn.init.constant_(linear.bias, 3.0)  # training starts from nearly all of it
        gates = deciding * (size.heads + 2)
        patches = size.side**2
        self.register_buffer("bucket_gates", torch.ones(len(COVERED), gates))
        spread = torch.arange(1, len(COVERED) + 1) / len(COVERED)
        self.register_buffer("bucket_tokens", (patches * spread).round())
        self.register_buffer("bucket_share", torch.full((len(COVERED),), 1 / len(COVERED)))

    @property
    def buckets(self) -> list[dict[str, Any]]:
        """What a driver must know of each bucket, cheapest first; the class token is one too."""
        rows = zip(self.bucket_tokens, self.bucket_gates, self.bucket_share, strict=True)
        return [
            {
                "stage": f"bucket{number}",
                "tokens": 1 + int(patches),
                "gates": [int(gate) for gate in gates],
                "share": round(float(share), 3),
            }
            for number, (patches, gates, share) in enumerate(rows)
        ]

    def begin(self, image: Tensor) -> Tensor:
        """The tokens behind the stem and the first block: [n, 1 + patches, dim]."""
        return self.vit.blocks[0](self.vit.tokens(image))

    def policy(self, x: Tensor) -> Policy:
        """Every decision from the state behind the first block; a patch is kept for good or not."""
        x = _normal(x)
        # One map for all blocks: on a class token, five would cost five calls and no less.
        weight = torch.cat([gate.weight for gate in self.gate])
        bias = torch.cat([gate.bias for gate in self.gate])
        gates = F.linear(x[:, 0], weight, bias).unflatten(1, (len(self.gate), -1))
        keep = self.keep[0](x[:, 1:]).squeeze(-1)
        return Policy(gates[..., :-2], gates[..., -2:], keep)

    def step_by_step(self, image: Tensor) -> tuple[Tensor, Policy]:
        """As in the paper: each block is decided on just before it. Logits, and what was chosen."""
        x, chosen = self.begin(image), []
        for block, gate, keep in zip(self.vit.blocks[1:], self.gate, self.keep, strict=True):
            y = _normal(x)
            scores, patches = gate(y[:, 0]), keep(y[:, 1:]).squeeze(-1)
            choice = Policy(scores[:, :-2], scores[:, -2:], patches).choose(self.training)
            x = masked(block, x, choice.heads, choice.branches, _with_class_token(choice.keep))
            chosen.append(choice.parts)
        together = Policy(*(torch.stack(parts, 1) for parts in zip(*chosen, strict=True)))
        return self.vit.answer(x[:, 0]), together

    def with_policy(self, x: Tensor, chosen: Policy) -> Tensor:
        """The logits from the state behind the first block, with what is not chosen masked."""
        keep = _with_class_token(chosen.keep)
        for i, block in enumerate(self.vit.blocks[1:]):
            x = masked(block, x, chosen.heads[:, i], chosen.branches[:, i], keep)
        return self.vit.answer(x[:, 0])

    def bucket_of(self, policy: Policy, largest: int | None = None) -> Tensor:
        """For each image the smallest bucket that has all it asks for, or else the largest."""
        last = len(self.bucket_gates) - 1
        gates = (policy.gates > 0)[:, None]
        tokens = (policy.keep > 0).sum(1)[:, None]
        enough = (self.bucket_gates >= gates).all(-1) & (self.bucket_tokens >= tokens)
        smallest = torch.where(enough.any(1), enough.to(torch.uint8).argmax(1), last)
        return smallest if largest is None else smallest.clamp(max=largest)

    def as_bucket(self, policy: Policy, bucket: Tensor) -> Policy:
        """What is used of an image in a bucket: its gates, and the best tokens it has room for."""
        gates = self.bucket_gates[bucket].unflatten(1, (-1, self.size.heads + 2))
        rank = policy.keep.argsort(1, descending=True).argsort(1)
        keep = (rank < self.bucket_tokens[bucket][:, None]).to(gates)
        return Policy(gates[..., :-2], gates[..., -2:], keep)

    def used(self, x: Tensor, largest: int | None = None) -> Policy:
        """What is used of each image in its bucket, none larger than `largest`."""
        policy = self.policy(x)
        return self.as_bucket(policy, self.bucket_of(policy, largest))

    def forward(self, image: Tensor, largest: int | None = None) -> Tensor:
        """The logits, by the policy, in buckets no larger than `largest`."""
        x = self.begin(image)
        return self.with_policy(x, self.used(x, largest))

    @torch.no_grad()
    def gather(self, policies: list[Policy]) -> None:
        """Make nested buckets of the policies that were seen, each enough for a share of them.

        Gates join in the order of how often they are used. Of the buckets that are enough for a
        share, and hold the one before, the one with the fewest gates times tokens is taken.
        """
        gates = torch.cat([policy.gates > 0 for policy in policies]).float()
        tokens = torch.cat([(policy.keep > 0).sum(1) for policy in policies])
        branch = torch.zeros(self.size.layers - 1, self.size.heads + 2)
        branch[:, -2:] = 1e-6  # between equals, a branch before its heads
        order = (gates.mean(0) + branch.flatten()).argsort(descending=True)
        last = (gates[:, order] * torch.arange(1, len(order) + 1)).amax(1)  # the last one needed
        count, room = 1, 1
        for bucket, share in enumerate(COVERED):
            count, room = _smallest(last, tokens, share, count, room, len(order))
            self.bucket_gates[bucket] = 0
            self.bucket_gates[bucket, order[:count]] = 1
            self.bucket_tokens[bucket] = room
        found = torch.cat([self.bucket_of(policy) for policy in policies])
        self.bucket_share.copy_(found.bincount(minlength=len(COVERED)) / len(found))


def _smallest(
    last: Tensor, tokens: Tensor, share: float, count: int, room: int, gates: int
) -> tuple[int, int]:
    """The fewest gates and tokens, no fewer than given, that are enough for a share of images."""
    found = (gates, int(tokens.max()))
    for some in range(count, gates + 1):
        fits = tokens[last <= some].sort().values
        needed = int(np.ceil(share * len(tokens)))
        if len(fits) >= needed:
            least = max(room, int(fits[needed - 1]))
            found = min(found, (some, least), key=lambda size: size[0] * size[1])
    return found


def _normal(x: Tensor) -> Tensor:
    """As decisions are made on it: else they grow with the tokens, from block to block."""
    return F.layer_norm(x, x.shape[-1:])


def _with_class_token(keep: Tensor, score: float = 1.0) -> Tensor:
    return F.pad(keep, (1, 0), value=score)


class PolicyStage(nn.Module):
    """Stem, first block and every decision; the class token comes before any patch."""

    def __init__(self, network: AdaViT) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.network.begin(image)
        policy = self.network.policy(x)
        keep = _with_class_token(policy.keep, score=FIRST)
        return {"tokens": x, "keep": keep, "usage": policy.gates}


class Bucket(nn.Module):
    """The blocks behind the first one, without the heads and branches that a bucket has not."""

    def __init__(self, network: AdaViT, bucket: int) -> None:
        super().__init__()
        gates = network.bucket_gates[bucket].bool().view(-1, network.size.heads + 2)
        blocks = network.vit.blocks[1:]
        self.blocks = nn.Sequential(*(Sliced(b, g) for b, g in zip(blocks, gates, strict=True)))
        self.norm, self.head = network.vit.norm, network.vit.head

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.norm(self.blocks(tokens)[:, 0]))}


def frozen(network: Network, name: str) -> Network:
    """A trained network that is only asked."""
    family.restore(network, name)
    return network.eval().requires_grad_(False)


class Recipe:
    """From a dense start: step by step as in the paper, then hoisted, then in buckets.

    The labels are taught, and what the dense network says.
    """

    data = WHOLE
    steps = 1600
    batch = 64
    learning_rate = 1e-3
    hoisted, bucketed = 0.2, 0.5  # of the run, when these begin

    def __init__(self, control: str = "") -> None:
        """The control learns to do with as much as a trained policy uses, chosen at random."""
        self.model = self.trained = AdaViT(SMALL)
        self.chooser, self.teacher = self.model, frozen(ViT(SMALL), "vit")
        if control:
            self.chooser = frozen(AdaViT(SMALL), "adavit")
        family.restore(self.model.vit, "vit")
        self.random, self.gathered = bool(control), bool(control)

    def loss(self, batch: Batch, rng: np.random.Generator, progress: float) -> Tensor:
        if progress < self.hoisted and not self.random:
            logits, chosen = self.model.step_by_step(batch.image)
            return self._taught(logits, batch) + chosen.usage_loss()
        if progress < self.bucketed and not self.random:
            x = self.model.begin(batch.image)
            chosen = self.model.policy(x).choose(training=True)
            return self._taught(self.model.with_policy(x, chosen), batch) + chosen.usage_loss()
        return self._taught(self._in_buckets(batch, rng), batch)

    def _taught(self, logits: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            dense = self.teacher(batch.image).softmax(-1)
        return F.cross_entropy(logits, batch.label) + F.cross_entropy(logits, dense)

    def _in_buckets(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """The decisions stand; the backbones get used to them, now and then to a smaller one."""
        if not self.gathered:
            self._gather()
        last = len(COVERED) - 1
        largest = last if rng.random() < 0.5 else int(rng.integers(last))
        with torch.no_grad():
            x = self.chooser.begin(batch.image)
            used = self.chooser.used(x, largest)
        if self.random:
            return self.model.with_policy(self.model.begin(batch.image), used.shuffled())
        return self.model.with_policy(x, used)

    def _gather(self) -> None:
        validation = digits.fixed(WHOLE.canvases, "train", 2000, seed=4)
        with torch.no_grad():
            self.model.gather(
                [
                    self.model.policy(self.model.begin(part.image))
                    for part in family.in_parts(validation, 250)
                ]
            )
        self.gathered = True

    def accuracy(self, test: Batch) -> dict[str, float]:
        """Top-1 with each bucket as the largest allowed, and with as much used at random."""
        right: dict[str, list[np.ndarray]] = {}
        for part in family.in_parts(test, 250):
            x, chosen = self.model.begin(part.image), self.chooser.begin(part.image)
            for largest in range(len(COVERED)):
                used = self.chooser.used(chosen, largest)
                if not self.random:
                    scores = family.right(self.model.with_policy(x, used), part.label)
                    right.setdefault(f"bucket{largest}", []).append(scores)
            logits = self.model.with_policy(x, used.shuffled())
            right.setdefault("random", []).append(family.right(logits, part.label))
        return {name: round(np.concatenate(parts).mean(), 4) for name, parts in right.items()}


class ElasticAdaViT:
    """The network as Elastiq's model contract sees it. Without a task it is shown noise."""

    name = "adavit"
    driver = "cascade"

    def __init__(self, network: AdaViT) -> None:
        self.network, self.size = network, network.size
        self._stages: Stages = {
            "policy": (PolicyStage(network).eval(), {"image": self._example(*self.size.shape(1))})
        }
        for number, bucket in enumerate(network.buckets):
            self._stages[bucket["stage"]] = (
                Bucket(network, number).eval(),
                {"tokens": self._example(1, bucket["tokens"], self.size.dim)},
            )

    @property
    def driver_settings(self) -> dict[str, Any]:
        return {"buckets": self.network.buckets}

    def points(self) -> list[dict[str, float]]:
        """A budget for each bucket that may be the largest: the mean usage that comes of it."""
        buckets = self.network.buckets
        usage = np.array([sum(bucket["gates"]) * bucket["tokens"] for bucket in buckets])
        share = np.array([bucket["share"] for bucket in buckets])
        means = [(share * np.minimum(usage, most)).sum() / share.sum() for most in usage]
        return [{"budget": float(np.ceil(1000 * mean / usage[-1]) / 1000)} for mean in means]

    def stages(self, point: dict[str, float]) -> Stages:
        """The policy and every bucket: the same modules at each point."""
        return self._stages

    def calibration(self) -> Iterator[Arrays]:
        """Batches of inputs to measure activation ranges on, the same at each call."""
        return family.noise(*self.size.shape(4))

    @staticmethod
    def _example(*shape: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class GlyphAdaViT(ReadsGlyphs, ElasticAdaViT):
    """The trained network that says which digit is on each canvas."""


def model() -> GlyphAdaViT:
    """The trained model: what `zoo.adavit:model` names."""
    return GlyphAdaViT(trained(AdaViT, SMALL, "adavit"))


def realistic() -> ElasticAdaViT:
    """A larger size, untrained, with the buckets that were learnt: for measuring speed."""
    small, network, size = model().network, untrained(AdaViT, REALISTIC), REALISTIC
    network.bucket_gates.copy_(small.bucket_gates)
    network.bucket_share.copy_(small.bucket_share)
    network.bucket_tokens.copy_((small.bucket_tokens * size.side**2 / small.size.side**2).ceil())
    return ElasticAdaViT(network)


def dense() -> DenseViT:
    """What the larger size is compared with."""
    return DenseViT(untrained(ViT, REALISTIC))
