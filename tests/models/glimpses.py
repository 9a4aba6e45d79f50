"""A tiny model that looks at an image a glimpse at a time, and can say where to look next."""

import numpy as np
import torch
from torch import nn

CLASSES, DEPTH, WIDTH = 5, 3, 16
GLIMPSES, TOKENS, PATCH, CANDIDATES = 3, 2, 6, 4


class Recycled(nn.Module):
    """Blocks, of which the first are run on each glimpse alone."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(PATCH, WIDTH)
        self.places = nn.Embedding(CANDIDATES * TOKENS, WIDTH)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.0, batch_first=True)
            for _ in range(DEPTH)
        )
        self.head = nn.Linear(WIDTH, CLASSES)
        self.ask = nn.Parameter(torch.randn(1, CANDIDATES, WIDTH))


class Iterator(nn.Module):
    def __init__(self, model, split):
        super().__init__()
        self.model, self.split = model, split

    def forward(self, patches, places):
        model = self.model
        tokens = model.embed(patches) + model.places(places)
        x = torch.cat([model.cls.expand(len(patches), -1, -1), tokens], 1)
        for block in model.blocks[: self.split]:
            x = block(x)
        return {"cls": x[:, :1], "tokens": x[:, 1:]}


class Aggregator(nn.Module):
    def __init__(self, model, split):
        super().__init__()
        self.model, self.split = model, split

    def forward(self, cls, tokens):
        x = torch.cat([cls, tokens], 1)
        for block in self.model.blocks[self.split :]:
            x = block(x)
        return {"logits": self.model.head(x[:, 0])}


class Look(nn.Module):
    """How little is known of each candidate; of one that was seen, less than nothing."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, cls, tokens, places):
        scores = (self.model.ask @ (tokens.mean(1, keepdim=True) + cls).transpose(1, 2)).squeeze(2)
        candidates = torch.arange(CANDIDATES).reshape(1, -1, 1) * TOKENS
        seen = (places.unsqueeze(1) == candidates).any(2)
        return {"attention": torch.where(seen, torch.full_like(scores, -1e6), scores)}


class Glimpses:
    """The model contract, over random weights; labels are what no recycling answers."""

    name = "glimpses"
    driver = "sequence"
    driver_settings = {"glimpse_tokens": TOKENS, "glimpses": GLIMPSES}  # noqa: RUF012

    def __init__(self):
        torch.manual_seed(0)
        self.model = Recycled().eval()
        self.looks = Look(self.model).eval()

    def points(self):
        return [{"split": 2}, {"split": 0}]

    def stages(self, point):
        split = point["split"]
        aggregator = Aggregator(self.model, split).eval()
        glimpse = {
            "patches": torch.zeros(1, TOKENS, PATCH),
            "places": torch.zeros(1, TOKENS).long(),
        }
        found = {"iterator": (Iterator(self.model, split).eval(), glimpse)}
        for count in range(1, GLIMPSES + 1):
            state = {
                "cls": torch.zeros(1, 1, WIDTH),
                "tokens": torch.zeros(1, count * TOKENS, WIDTH),
            }
            found[f"aggregate{count}"] = (aggregator, state)
            if count < GLIMPSES:
                places = {"places": torch.zeros(1, count * TOKENS).long()}
                found[f"look{count}"] = (self.looks, state | places)
        return found

    def calibration(self):
        yield sequences(0, 16)

    def evaluate(self, predict):
        samples = sequences(1, 40)
        answers = predict(samples)["logits"].argmax(-1)
        return (answers == self.whole(samples).argmax(-1)).astype(float)

    def whole(self, samples, split=0):
        """All glimpses at once, with no driver: what running the pieces must come to."""
        iterator, aggregator = Iterator(self.model, split), Aggregator(self.model, split)
        with torch.no_grad():
            parts = [
                iterator(*(torch.from_numpy(samples[k][:, n]) for k in ("patches", "places")))
                for n in range(samples["patches"].shape[1])
            ]
            cls = torch.stack([part["cls"] for part in parts]).mean(0)
            tokens = torch.cat([part["tokens"] for part in parts], 1)
            return aggregator(cls, tokens)["logits"].numpy()


def sequences(seed, count, glimpses=GLIMPSES):
    random = np.random.default_rng(seed)
    candidates = np.stack([random.permutation(CANDIDATES)[:glimpses] for _ in range(count)])
    places = candidates[..., None] * TOKENS + np.arange(TOKENS)
    patches = random.standard_normal((count, glimpses, TOKENS, PATCH)).astype(np.float32)
    return {"patches": patches, "places": places.astype(np.int64)}
