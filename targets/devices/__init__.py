"""Devices: a TOML file each, read into a frozen record."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from elastiq.errors import unknown
from targets import toml

FOLDER = Path(__file__).parent


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

    @property
    def here(self) -> bool:
        """Whether this machine is one, so that engines can be run and measured on it."""
        return platform.machine() in self.machines


def targets() -> dict[str, Target]:
    """Every device there is, by name."""
    found = [toml.read(Target, path) for path in sorted(FOLDER.glob("*.toml"))]
    return {target.name: target for target in found}


def target(name: str) -> Target:
    """The device of a name."""
    known = targets()
    if name not in known:
        raise unknown("target", name, known)
    return known[name]
