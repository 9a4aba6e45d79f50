"""TOML files as records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

from elastiq.codec import decode
from elastiq.errors import ElastiqError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read(kind: type[T], path: Path) -> T:
    """A record from a TOML file, strictly."""
    try:
        return decode(kind, tomllib.loads(path.read_text()), path.name)
    except (OSError, tomllib.TOMLDecodeError) as e:
        raise ElastiqError(f"{path}: {e}") from e
