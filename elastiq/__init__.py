"""The device side of Elastiq: open a bundle, and let it choose the engine that keeps the deadline.

bundle = elastiq.open("perceiver.elastiq")
answer = bundle.infer({"image": x}, deadline=0.03)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastiq.errors import BundleError, DeadlineMissed, ElastiqError, EngineError, QueueFull

if TYPE_CHECKING:
    from elastiq.bundle import Bundle

__version__ = "0.1.0"
__all__ = [
    "BundleError",
    "DeadlineMissed",
    "ElastiqError",
    "EngineError",
    "QueueFull",
    "open",
]


def open(path: str | Path, **options: Any) -> Bundle:
    """Open a bundle and check it; see `elastiq.bundle.Bundle` for what can be asked of it."""
    from elastiq.bundle import Bundle  # numpy is loaded here, not by `import elastiq`

    return Bundle(Path(path), **options)
