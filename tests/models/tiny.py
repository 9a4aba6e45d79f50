"""A tiny elastic model that trains in no time: a nested-query Perceiver on random patterns."""

import numpy as np
import torch
from torch import nn

CLASSES = 5
SHAPE = (1, 1, 16, 16)


class Perceiver(nn.Module):
    """Eight nested queries over sixteen tokens, one block."""

    def __init__(self, width=32):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.queries = nn.Parameter(torch.randn(1, 8, width))
        self.cross = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, CLASSES)


class AtPoint(nn.Module):
    """The model with its first `queries` queries."""

    def __init__(self, model, queries):
        super().__init__()
        self.model, self.count = model, queries

    def forward(self, image):
        model = self.model
        tokens = model.patch(image).flatten(2).transpose(1, 2)
        queries = model.queries[:, : self.count].expand(image.shape[0], -1, -1)
        seen, _ = model.cross(queries, tokens, tokens, need_weights=False)
        x = model.norm(queries + seen)
        x = x + model.down(nn.functional.gelu(model.up(x)))
        return {"logits": model.head(x.mean(1))}


class Tiny:
    """The model contract, over random weights; labels are what the largest point answers."""

    name = "tiny"
    driver = "oneshot"

    def __init__(self):
        torch.manual_seed(0)
        self.model = Perceiver().eval()

    def points(self):
        return [{"queries": 2}, {"queries": 8}]

    def stages(self, point):
        module = AtPoint(self.model, point["queries"]).eval()
        return {"main": (module, {"image": torch.zeros(SHAPE)})}

    def calibration(self):
        yield {"image": _images(0, 32)}

    def evaluate(self, predict):
        images = _images(1, 64)
        with torch.no_grad():
            truth = AtPoint(self.model, 8)(torch.from_numpy(images))["logits"].argmax(-1).numpy()
        return (predict({"image": images})["logits"].argmax(-1) == truth).astype(float)


class Unmeasured(Tiny):
    """The same without a task metric."""

    name = "unmeasured"
    evaluate = None


class Outliers(Tiny):
    """The same function, with two channels so large that INT8 sees little else."""

    name = "outliers"

    def __init__(self):
        super().__init__()
        cross, patch = self.model.cross, self.model.patch
        with torch.no_grad():
            for channel in (3, 17):
                patch.weight[channel] *= 1024
                patch.bias[channel] *= 1024
                cross.in_proj_weight[cross.embed_dim :, channel] /= 1024  # not that of queries


class OneScore(Tiny):
    """The same with a metric that knows no samples."""

    name = "one-score"

    def evaluate(self, predict):
        return super().evaluate(predict).mean()


def _images(seed, count):
    shape = (count, *SHAPE[1:])
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
