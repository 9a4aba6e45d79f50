"""One file per implementation: finding the module of a name in a package of alike modules."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from elastiq.errors import unknown


def names(package: str) -> list[str]:
    """The modules of a package."""
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path))


def load(package: str, name: str, kind: str) -> Any:
    """The module of a name, if the package has one: a name never leads anywhere else."""
    known = names(package)
    if name not in known:
        raise unknown(kind, name, known)
    return importlib.import_module(f"{package}.{name}")
