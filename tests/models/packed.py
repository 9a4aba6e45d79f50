"""A tiny model that answers several images at once: each has a row, and a part in every answer."""

import numpy as np
import torch
from torch import nn

CLASSES, TOKENS, WIDTH = 5, 12, 16
SLIGHT = 0.1  # of how much place and company change what an image is answered


class Concatenated(nn.Module):
    """Tokens per image, shortened to a share of them, side by side in one block."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, WIDTH)
        self.shorten = nn.ModuleDict(
            {str(n): nn.Conv1d(WIDTH, WIDTH, n, n) if n > 1 else nn.Identity() for n in (1, 2, 4)}
        )
        self.slots = nn.Parameter(SLIGHT * torch.randn(4, 1, WIDTH))
        self.cls = nn.Parameter(SLIGHT * torch.randn(4, 1, WIDTH))
        self.attend = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)


class AtPoint(nn.Module):
    """The model over so many images."""

    def __init__(self, model, images):
        super().__init__()
        self.model, self.images = model, images

    def forward(self, image):
        model, count = self.model, self.images
        tokens = model.embed(image.reshape(count, TOKENS, 4)).transpose(1, 2)
        tokens = model.shorten[str(count)](tokens).transpose(1, 2) + model.slots[:count]
        x = torch.cat([model.cls[:count], tokens], 1).reshape(1, -1, WIDTH)
        mixed, _ = model.attend(x, x, x, need_weights=False)
        rows = (x + SLIGHT * mixed).reshape(count, -1, WIDTH).mean(1)
        return {"logits": model.head(rows)}


class Packed:
    """The model contract, over random weights; labels are what an image alone is answered."""

    name = "packed"
    driver = "mux"

    def __init__(self):
        torch.manual_seed(0)
        self.model = Concatenated().eval()

    def points(self):
        return [{"images": 4}, {"images": 2}, {"images": 1}]

    def stages(self, point):
        count = point["images"]
        return {"main": (AtPoint(self.model, count).eval(), {"image": torch.zeros(count, 1, 6, 8)})}

    def calibration(self):
        yield {"image": images(0, 32)}

    def evaluate(self, predict):
        samples, truth = self.clear(50)
        return (predict({"image": samples})["logits"].argmax(-1) == truth).astype(float)

    def clear(self, count):
        """The images, of ten times as many, that company is the least likely to change."""
        some = torch.from_numpy(images(1, 10 * count))
        margin = torch.full((len(some),), torch.inf)
        for places in (4, 2, 1):  # alone comes last: its answers are the labels
            engine = AtPoint(self.model, places)
            with torch.no_grad():
                logits = torch.cat(
                    [engine(one.expand(places, *one.shape))["logits"] for one in some]
                )
            first, second = logits.topk(2).values.T
            margin = margin.minimum((first - second).reshape(-1, places).amin(1))
        surest = margin.argsort(descending=True)[:count]
        return some[surest].numpy(), logits[surest].argmax(-1).numpy()


def images(seed, count):
    return np.random.default_rng(seed).standard_normal((count, 1, 6, 8)).astype(np.float32)
