"""What is sent in a replay: when requests come, how long each may take, and beside which load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from elastiq.arrivals import arrivals, trace
from elastiq.errors import ElastiqError
from elastiq.hog import IDLE, Hog


@dataclass(frozen=True)
class Traffic:
    """`rate` requests a second on average, with `deadline` seconds for each."""

    kind: str  # of arrivals, or a recording's name
    rate: float
    deadline: float
    seconds: float
    seed: int = 0
    hog: Hog = IDLE
    shape: Mapping[str, float] = field(default_factory=dict)  # of the arrivals
    recording: Path | None = None

    def moments(self) -> np.ndarray:
        """When each request comes."""
        if self.recording is not None:
            found = trace(self.recording, self.rate, self.seconds, self.seed)
        else:
            found = arrivals(self.kind, self.rate, self.seconds, self.seed, **self.shape)
        if not len(found):
            raise ElastiqError("there is no request to send. Raise the rate or the seconds.")
        return found

    def __str__(self) -> str:
        shape = "".join(f" ({name} {value:g})" for name, value in self.shape.items())
        hog = f", while others take {self.hog}" if self.hog.most else ""
        return (
            f"{self.kind}{shape} arrivals, {self.rate:.1f} a second for {self.seconds:g} s, "
            f"deadline {1000 * self.deadline:.1f} ms{hog}"
        )
