"""Evaluation samples that travel with a bundle: inputs, and how each point answered them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elastiq import arrays as files

SEPARATOR = "::"


@dataclass(frozen=True)
class Samples:
    """`inputs[name][i]`, and per point the score (0…1) and outputs that verification found.

    Where the device is to choose between precisions, they are there per point and precision, too.
    """

    inputs: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    outputs: dict[str, dict[str, np.ndarray]]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def input(self, index: int) -> dict[str, np.ndarray]:
        """One sample as a request: the arrays with a batch of one."""
        return {name: array[index : index + 1] for name, array in self.inputs.items()}

    def choose(self, precisions: Mapping[str, str]) -> Samples:
        """The same, whose points are as they are at these precisions, where that is known."""
        found = {point: at(point, precision) for point, precision in precisions.items()}
        known = {point: name for point, name in found.items() if name in self.outputs}
        return Samples(
            self.inputs,
            self.scores | {point: self.scores[name] for point, name in known.items()},
            self.outputs | {point: self.outputs[name] for point, name in known.items()},
        )

    def save(self, path: Path) -> None:
        arrays = {f"inputs{SEPARATOR}{name}": array for name, array in self.inputs.items()}
        for point, scores in self.scores.items():
            arrays[f"scores{SEPARATOR}{point}"] = scores
        for point, outputs in self.outputs.items():
            for name, array in outputs.items():
                arrays[f"outputs{SEPARATOR}{point}{SEPARATOR}{name}"] = array
        files.save(path, arrays)


def at(point: str, precision: str) -> str:
    """The name of a point's answers at one of its precisions."""
    return f"{point}/{precision}"


def load(path: Path) -> Samples:
    """Read samples written by `Samples.save`."""
    inputs: dict[str, np.ndarray] = {}
    scores: dict[str, np.ndarray] = {}
    outputs: dict[str, dict[str, np.ndarray]] = {}
    for key, array in files.load(path).items():
        kind, *names = key.split(SEPARATOR)
        if kind == "inputs":
            inputs[names[0]] = array
        elif kind == "scores":
            scores[names[0]] = array
        else:
            outputs.setdefault(names[0], {})[names[1]] = array
    return Samples(inputs, scores, outputs)
