"""How much of the time some task had to wait for memory: Linux's pressure stall information."""

from __future__ import annotations

from pathlib import Path

from elastiq.sensors.pressure import PressureSensor

PRESSURE = Path("/proc/pressure/memory")


def sensor() -> PressureSensor:
    return PressureSensor(PRESSURE, name="memory")
