"""On what terms engines are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from targets.backends import backend


@dataclass(frozen=True)
class Terms:
    """The settings of backends, and limits for each engine."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 600.0
    memory: float = 0.0  # GiB; 0: as much as there is
    retry: bool = False  # what failed before

    def of(self, name: str) -> Any:
        """The settings of a backend."""
        return self.settings[name] if name in self.settings else backend(name).Settings()
