"""How fast the cores are clocked, of what they could be."""

from __future__ import annotations

from pathlib import Path

from elastiq import sysfs

CPUS = Path("/sys/devices/system/cpu")


class FrequencySensor:
    """Reads `frequency`: the present clock as a share (0…1) of the highest, over all cores."""

    name = "frequency"
    period = 1.0

    def __init__(self, folder: Path = CPUS) -> None:
        self._highest = {
            core: highest
            for core in sysfs.below(folder, "cpu[0-9]*/cpufreq")
            if (highest := sysfs.number(core / "cpuinfo_max_freq")) and highest > 0
        }

    def read(self) -> dict[str, float] | None:
        shares = [
            min(1.0, now / highest)
            for core, highest in self._highest.items()
            if (now := sysfs.number(core / "scaling_cur_freq")) is not None and now >= 0
        ]
        return {"frequency": sum(shares) / len(shares)} if shares else None


def sensor() -> FrequencySensor:
    return FrequencySensor()
