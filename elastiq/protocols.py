"""The seams of the device side: small protocols, one file per implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class RunnerOptions:
    """What a runner needs beside an engine's folder."""

    folder: Path
    threads: int = 1
    share: bool = False  # whether to make what lets engines share memory
    check: Callable[[], None] = _nothing

    @property
    def weights(self) -> Path:
        """The folder of weights, checked when it is asked for: who has a cache need not read it."""
        self.check()
        return self.folder


class Engine(Protocol):
    """A loaded engine: callable on named arrays, closeable."""

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]: ...

    def close(self) -> None: ...


class Runner(Protocol):
    """The module that loads what one kind of backend builds: `elastiq.runners.NAME`."""

    def load(self, folder: Path, options: RunnerOptions) -> Engine: ...


class Sensor(Protocol):
    """A source of device load. `read` gives named shares (0…1) since the last read, or None."""

    name: str
    period: float  # seconds from one read to the next at least, for what changes slowly

    def read(self) -> dict[str, float] | None: ...
