"""A tiny model that decides, for each image, how much of itself it needs."""

import numpy as np
import torch
from torch import nn

CLASSES, TOKENS, WIDTH, GATES = 5, 8, 16, 3
BUCKETS = [
    {"stage": "bucket0", "tokens": 2, "gates": [1, 0, 0], "share": 0.4},
    {"stage": "bucket1", "tokens": 5, "gates": [1, 1, 0], "share": 0.3},
    {"stage": "bucket2", "tokens": 8, "gates": [1, 1, 1], "share": 0.3},
]


class Adaptive(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, WIDTH)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.keep = nn.Linear(WIDTH, 1)
        self.gates = nn.Linear(WIDTH, GATES)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.0, batch_first=True)
            for _ in range(GATES)
        )
        self.head = nn.Linear(WIDTH, CLASSES)


class Policy(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        model = self.model
        tokens = model.embed(image.reshape(len(image), TOKENS, 6))
        cls = model.cls.expand(len(image), -1, -1) + tokens.mean(1, keepdim=True)
        # How wide an image's values are spread tells how much it needs.
        need = 4 * image.std((1, 2, 3)).unsqueeze(1) - 4
        keep = model.keep(tokens).squeeze(2) + need
        usage = torch.cat([torch.ones_like(need), need + 1, need], 1)
        return {"cls": cls, "tokens": tokens, "keep": keep, "usage": usage}


class Backbone(nn.Module):
    def __init__(self, model, gates):
        super().__init__()
        self.model, self.used = model, gates

    def forward(self, cls, tokens):
        x = torch.cat([cls, tokens], 1)
        for block, used in zip(self.model.blocks, self.used, strict=True):
            if used:
                x = block(x)
        return {"logits": self.model.head(x[:, 0])}


class Buckets:
    """The model contract, over random weights; labels are what the largest bucket answers."""

    name = "buckets"
    driver = "cascade"
    driver_settings = {"buckets": BUCKETS}  # noqa: RUF012

    def __init__(self):
        torch.manual_seed(0)
        self.model = Adaptive().eval()
        self.policy = Policy(self.model).eval()
        self.backbones = [Backbone(self.model, bucket["gates"]).eval() for bucket in BUCKETS]

    def points(self):
        return [{"budget": 0.1}, {"budget": 0.3}, {"budget": 1.0}]

    def stages(self, point):
        found = {"policy": (self.policy, {"image": torch.zeros(1, 1, 6, 8)})}
        for bucket, backbone in zip(BUCKETS, self.backbones, strict=True):
            tokens = torch.zeros(1, bucket["tokens"], WIDTH)
            found[bucket["stage"]] = (backbone, {"cls": torch.zeros(1, 1, WIDTH), "tokens": tokens})
        return found

    def calibration(self):
        yield {"image": images(0, 32)}

    def evaluate(self, predict):
        samples = images(1, 60)
        with torch.no_grad():
            seen = self.policy(torch.from_numpy(samples))
            truth = self.backbones[-1](seen["cls"], seen["tokens"])["logits"].argmax(-1).numpy()
        return (predict({"image": samples})["logits"].argmax(-1) == truth).astype(float)


def images(seed, count):
    random = np.random.default_rng(seed)
    spread = random.uniform(0.5, 1.5, (count, 1, 1, 1))
    return (spread * random.standard_normal((count, 1, 6, 8))).astype(np.float32)
