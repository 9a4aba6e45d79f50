"""Whether the device was told to save power: a Jetson's mode, a laptop's profile, a governor."""

from __future__ import annotations

import re
from pathlib import Path

from elastiq import sysfs

ROOT = Path("/")
MODE = "var/lib/nvpmodel/status"  # of a Jetson; its mode 0 is the one without limits
PROFILE = "sys/firmware/acpi/platform_profile"
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
PREFERENCE = "sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference"
SAVING = {  # as shares: 0 is as fast as it can, 1 saves what it can
    PROFILE: {
        "performance": 0.0,
        "balanced-performance": 0.25,
        "balanced": 0.5,
        "quiet": 0.75,
        "cool": 0.75,
        "low-power": 1.0,
    },
    PREFERENCE: {
        "performance": 0.0,
        "balance_performance": 0.25,
        "default": 0.5,
        "balance_power": 0.75,
        "power": 1.0,
    },
    GOVERNOR: {"performance": 0.0, "schedutil": 0.0, "ondemand": 0.0, "conservative": 0.5},
}


class PowerSensor:
    """Reads `saving`: 0 where the device may be as fast as it can, 1 where it saves power."""

    name = "power"
    period = 5.0

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def read(self) -> dict[str, float] | None:
        mode = re.search(r"\d+", sysfs.text(self._root / MODE) or "")
        if mode:
            return {"saving": 0.0 if int(mode[0]) == 0 else 1.0}
        for path, known in SAVING.items():
            told = sysfs.text(self._root / path)
            if told in known:
                return {"saving": known[told]}
        return None


def sensor() -> PowerSensor:
    return PowerSensor()
