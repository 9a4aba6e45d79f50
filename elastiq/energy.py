"""Counters of energy: Intel's and AMD's packages (RAPL), NVIDIA GPUs, and Jetson modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from elastiq import sysfs
from elastiq.sensors import nvidia

POWERCAP = Path("/sys/class/powercap")
MONITORS = Path("/sys/class/hwmon")
MODULE = ("VDD_IN", "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")  # a Jetson's rails, by board
WHOLE_MODULE = MODULE[:1]  # which has all others behind it


class Counter(Protocol):
    """`joules` rises while energy is used; None: it cannot be read now."""

    name: str

    def joules(self) -> float | None: ...


class Rapl:
    """The packages of a CPU, as the kernel counts them; most systems show that to root only."""

    name = "RAPL"

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._zones = [
            zone
            for zone in sysfs.below(folder, "intel-rapl:*")
            if (sysfs.text(zone / "name") or "").startswith("package")
            and sysfs.number(zone / "energy_uj") is not None
        ]
        self._last = [sysfs.number(zone / "energy_uj") or 0.0 for zone in self._zones]
        self._sum = 0.0

    def joules(self) -> float | None:
        for place, zone in enumerate(self._zones):
            now = sysfs.number(zone / "energy_uj")
            if now is None:
                return None
            used = now - self._last[place]
            if used < 0:  # it began anew
                used += sysfs.number(zone / "max_energy_range_uj") or 0.0
            self._sum += used / 1e6
            self._last[place] = now
        return self._sum if self._zones else None


class Nvidia:
    """The first GPU, by the driver's own count."""

    name = "NVML"

    def __init__(self, given: Any = None) -> None:
        self._library = given if given is not None else nvidia.library()
        self._device = nvidia.first(self._library)

    def joules(self) -> float | None:
        if self._device is None:
            return None
        try:
            return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / 1e3
        except self._library.NVMLError:
            return None


class Jetson:
    """The module's INA3221, which tells voltage and current; they are added up as they are read."""

    name = "INA3221"

    def __init__(
        self, folder: Path = MONITORS, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        labels = {
            sysfs.text(path): path
            for monitor in sysfs.below(folder, "hwmon*")
            if sysfs.text(monitor / "name") == "ina3221"
            for path in sysfs.below(monitor, "in*_label")
        }
        names = WHOLE_MODULE if WHOLE_MODULE[0] in labels else MODULE
        self._rails = [labels[name] for name in names if name in labels]
        self._clock = clock
        self._last = clock(), self._watts()
        self._sum = 0.0

    def joules(self) -> float | None:
        now, watts = self._clock(), self._watts()
        before, earlier = self._last
        self._last = now, watts
        if watts is None or earlier is None:
            return None
        self._sum += (now - before) * (watts + earlier) / 2
        return self._sum

    def _watts(self) -> float | None:
        found = []
        for label in self._rails:
            rail = label.name.removesuffix("_label")
            volts = sysfs.number(label.with_name(f"{rail}_input"))
            amperes = sysfs.number(label.with_name(f"{rail.replace('in', 'curr')}_input"))
            if volts is None or amperes is None:
                return None
            found.append(volts * amperes / 1e6)
        return sum(found) if found else None


class Meter:
    """All counters that this device has, together."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = [one for one in counters if one.joules() is not None]

    @property
    def name(self) -> str:
        return " and ".join(one.name for one in self._counters) or "no counter"

    def joules(self) -> float | None:
        """The sum of what all have counted, or None."""
        found = [one.joules() for one in self._counters]
        known = [value for value in found if value is not None]
        return sum(known) if known and len(known) == len(found) else None


def meter() -> Meter:
    """What this device has."""
    return Meter([Rapl(), Nvidia(), Jetson()])
