"""The packages that a toolchain is made of, in versions that are known to work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from elastiq.errors import ElastiqError, missing

# By package, the first version that works, and the first that is not known to; empty: none yet.
Bounds = Mapping[str, tuple[str, str]]


def tools(bounds: Bounds, extra: str) -> str:
    """Each package and its version. Raises ElastiqError if one is absent, too old or too new."""
    return ", ".join(
        f"{package} {_fitting(package, *bounds[package], extra)}" for package in bounds
    )


def _fitting(package: str, first: str, behind: str, extra: str) -> str:
    try:
        found = version(package)
    except PackageNotFoundError as e:
        raise missing(package, extra) from e
    if _release(found) < _release(first):
        why = f"too old: {first} is the oldest that works"
    elif behind and _release(found) >= _release(behind):
        why = f"too new: it is not known to work from {behind} on"
    else:
        return found
    raise ElastiqError(
        f"{package} {found} is {why}. Install one that fits with: pip install 'elastiq[{extra}]'"
    )


def _release(text: str) -> tuple[int, ...]:
    """The numbers of a version, by which versions are compared; 1.2 is 1.2.0."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)
