"""Sensors of device load, one file each. A sensor module offers `sensor()`, which makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastiq import plugins

if TYPE_CHECKING:
    from elastiq.protocols import Sensor


def sensors() -> list[Sensor]:
    """One of every sensor there is; those that this device lacks read None."""
    names = plugins.names(__name__)
    return [plugins.load(__name__, name, "sensor").sensor() for name in names]
