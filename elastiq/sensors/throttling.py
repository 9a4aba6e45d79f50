"""Whether the device is slowed down because it is hot, and by how much."""

from __future__ import annotations

from pathlib import Path

from elastiq import sysfs

CPUS = Path("/sys/devices/system/cpu")
COOLING = Path("/sys/class/thermal")
KINDS = ("processor", "cpufreq", "cpu", "gpu", "devfreq")  # what slows down; fans do not


class ThrottlingSensor:
    """Reads `throttled`: 1 where a core was slowed since the last read, else how far (0…1) the
    kernel has turned down what it turns down most."""

    name = "throttling"
    period = 1.0

    def __init__(self, cpus: Path = CPUS, cooling: Path = COOLING) -> None:
        counters = (
            *sysfs.below(cpus, "cpu[0-9]*/thermal_throttle/core_throttle_count"),
            *sysfs.below(cpus, "cpu[0-9]*/thermal_throttle/package_throttle_count"),
        )
        self._last = {path: sysfs.number(path) for path in counters}
        self._devices = [
            device
            for device in sysfs.below(cooling, "cooling_device*")
            if (sysfs.text(device / "type") or "").lower().startswith(KINDS)
        ]

    def read(self) -> dict[str, float] | None:
        found = [share for device in self._devices if (share := _turned_down(device)) is not None]
        for path, before in self._last.items():
            now = self._last[path] = sysfs.number(path)
            if before is not None and now is not None:
                found.append(1.0 if now > before else 0.0)
        return {"throttled": max(found)} if found else None


def _turned_down(device: Path) -> float | None:
    state, most = sysfs.number(device / "cur_state"), sysfs.number(device / "max_state")
    if state is None or most is None or most <= 0 or not 0 <= state <= most:
        return None
    return state / most


def sensor() -> ThrottlingSensor:
    return ThrottlingSensor()
