"""A Jetson's GPU: by jtop (jetson-stats) where it is installed and runs, else by the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elastiq import sysfs

LOADS = (  # in thousandths, by generation of the board
    "sys/devices/gpu.0/load",
    "sys/devices/platform/gpu.0/load",
    "sys/devices/platform/17000000.gpu/load",
    "sys/devices/17000000.ga10b/load",
    "sys/devices/17000000.gv11b/load",
)
ROOT = Path("/")


class JetsonSensor:
    """Reads `gpu`: how busy the GPU is, as a share (0…1)."""

    name = "jetson"
    period = 0.2

    def __init__(self, root: Path = ROOT, top: Any = None) -> None:
        found = [path for name in LOADS if (path := root / name).exists()]
        self._path = found[0] if found else None
        self._top = top if top is not None else _top()

    def read(self) -> dict[str, float] | None:
        share = self._by_top()
        if share is None and self._path is not None:
            told = sysfs.number(self._path)
            share = None if told is None else told / 1000.0
        return None if share is None or not 0.0 <= share <= 1.0 else {"gpu": share}

    def _by_top(self) -> float | None:
        if self._top is None or not self._top.ok(spin=True):
            return None
        percent = self._top.stats.get("GPU")
        return None if percent is None else float(percent) / 100.0


def _top() -> Any:
    """jtop, once its service answers."""
    try:
        from jtop import jtop

        top = jtop()
        top.start()
    except Exception:  # the package is not there, or says in its own ways that its service is not
        return None
    return top


def sensor() -> JetsonSensor:
    return JetsonSensor()
