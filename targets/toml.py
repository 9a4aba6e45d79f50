"""TOML files as records."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from elastiq.codec import decode
from elastiq.errors import ElastiqError

T = TypeVar("T")


def read(kind: type[T], path: Path) -> T:
    """A record from a TOML file, strictly."""
    try:
        return decode(kind, _loads(path.read_text()), path.name)
    except (OSError, ValueError) as e:  # of which a mistake in the text is one
        raise ElastiqError(f"{path}: {e}") from e


def _loads(text: str) -> dict[str, Any]:
    """The standard library reads it since Python 3.11, and the package before."""
    for name in ("tomllib", "tomli"):
        try:
            found: dict[str, Any] = import_module(name).loads(text)
        except ModuleNotFoundError:
            continue
        return found
    raise ElastiqError("tomli is not installed. Install it with: pip install tomli")
