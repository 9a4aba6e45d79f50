"""Small files in which the kernel tells one thing each; what is none of these is None."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

LONGEST = 4096  # bytes: more is none of these files


def text(path: Path) -> str | None:
    """What a file says, in one line."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None


def number(path: Path) -> float | None:
    """The number that a file says."""
    try:
        value = float(text(path) or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def below(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, in order."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
