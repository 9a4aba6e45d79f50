"""Drivers turn requests into engine calls, one family of models each."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from elastiq.errors import unknown

if TYPE_CHECKING:
    from elastiq.protocols import Driver


def driver(name: str) -> Driver:
    """The driver module of a name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise unknown("driver", name, names)
    return importlib.import_module(f"elastiq.drivers.{name}")
