"""Devices: a TOML file each, read into a frozen record."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from elastiq import cuda
from elastiq.errors import unknown
from targets import toml

FOLDER = Path(__file__).parent


def own_folder() -> Path:
    """The user's own devices: $ELASTIQ_DEVICES, else under their configuration."""
    settings = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    return Path(os.environ.get("ELASTIQ_DEVICES", settings / "elastiq" / "devices"))


@dataclass(frozen=True)
class Peak:
    """What one device of a kind can do at most, by its data sheet: to predict where none is."""

    device: str  # which one
    rates: dict[str, float]  # operations a second, by precision: of its GPU, or of one core
    bandwidth: float  # of memory, bytes a second
    launch: float  # seconds to start a kernel, which no data sheet tells


@dataclass(frozen=True)
class Target:
    """A kind of device: what can be built for it, and how its engines should run."""

    name: str
    description: str
    machines: tuple[str, ...]
    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    recipe: str  # of calibration/recipes.py
    threads: int
    settings: tuple[str, ...] = ()  # of backends, as --set takes them
    peak: Peak | None = None  # None: nothing is predicted
    gpu: bool = False  # whether its engines run on an NVIDIA GPU

    @property
    def here(self) -> bool:
        """Whether this machine is one, so that engines can be run and measured on it."""
        return platform.machine() in self.machines and (not self.gpu or cuda.available())


def targets() -> dict[str, Target]:
    """Every device there is, by name; the user's own come before ours of that name."""
    paths = [path for folder in (FOLDER, own_folder()) for path in sorted(folder.glob("*.toml"))]
    return {target.name: target for target in (toml.read(Target, path) for path in paths)}


def target(name: str) -> Target:
    """The device of a name."""
    known = targets()
    if name not in known:
        raise unknown("target", name, known)
    return known[name]
