"""Sensors of device load, one file each. A sensor module offers `sensor()`, which makes one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elastiq.protocols import Sensor

NAMES = ("cpu", "pressure")


def sensors() -> list[Sensor]:
    """One of every sensor; those that this device lacks read None."""
    return [importlib.import_module(f"elastiq.sensors.{name}").sensor() for name in NAMES]
