"""One file per implementation: finding the module of a name in a package of alike modules.

Somebody else's package adds one by an entry point, in a group called as our package is.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any

from elastiq.errors import unknown


def names(package: str) -> list[str]:
    """The modules of a package, and the entry points that add to them."""
    return sorted({*_own(package), *entry_points(group=package).names})


def load(package: str, name: str, kind: str) -> Any:
    """The module of a name, ours or an installed package's: a name never leads anywhere else."""
    if name in _own(package):
        return importlib.import_module(f"{package}.{name}")
    for point in entry_points(group=package, name=name):
        return point.load()
    raise unknown(kind, name, names(package))


def _own(package: str) -> list[str]:
    path = importlib.import_module(package).__path__
    return [module.name for module in pkgutil.iter_modules(path)]
