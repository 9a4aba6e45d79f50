"""Plain modules, whose `forward` takes the number of queries beside the image."""

import torch
from torch import nn

from tests.models.tiny import Perceiver


class Queried(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = Perceiver()

    def forward(self, image, queries):
        model = self.model
        tokens = model.patch(image).flatten(2).transpose(1, 2)
        first = model.queries[:, :queries].expand(image.shape[0], -1, -1)
        seen, _ = model.cross(first, tokens, tokens, need_weights=False)
        x = model.norm(first + seen)
        return model.head((x + model.down(nn.functional.gelu(model.up(x)))).mean(1))


net = Queried()
