"""Named arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, uncompressed, so that reading them back costs nothing."""
    with path.open("wb") as file:
        np.savez(file, **cast(Any, arrays))


def load(path: Path) -> dict[str, np.ndarray]:
    """Read what `save` wrote. Pickled objects are refused."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
