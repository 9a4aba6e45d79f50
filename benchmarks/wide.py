"""The trained Perceiver with three times as many channels and heads, and the same function.

The trained one answers in less than a millisecond, where Python and cold caches weigh as much as
the engine; models that are deployed take tens. Here each channel stands three times, and whoever
reads it takes a third of each: the same answers to rounding, for nine times the work.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from zoo.perceiver import SMALL, DigitsPerceiver, Perceiver

TIMES = 3
LARGE = replace(SMALL, dim=TIMES * SMALL.dim, heads=TIMES * SMALL.heads)


class WidePerceiver(DigitsPerceiver):
    """The same function as the trained model, at the cost of a larger one."""

    name = "perceiver-wide"
    tested = 500

    def __init__(self) -> None:
        super().__init__()
        wide = Perceiver(LARGE).eval()
        with torch.no_grad():
            for name, module in wide.named_modules():
                _widen(name, module, self.perceiver.get_submodule(name))
        self.perceiver = wide


def _widen(name: str, wide: nn.Module, narrow: nn.Module) -> None:
    """Give a module's own parameters the narrow one's values, each as often as it has room."""
    for kind, values in wide.named_parameters(recurse=False):
        given = narrow.get_parameter(kind)
        more = [new // old for new, old in zip(values.shape, given.shape, strict=True)]
        if isinstance(wide, nn.Linear | nn.Conv2d) and given.dim() > 1:
            given = given / more[1]
        parts = given.chunk(2 if name.endswith("key_value") else 1)  # keys come first
        values.copy_(torch.cat([part.repeat(more) for part in parts]))


def model() -> WidePerceiver:
    """What `benchmarks.wide:model` names."""
    return WidePerceiver()
