"""How near the hottest part is to the temperature at which the kernel steps in."""

from __future__ import annotations

from pathlib import Path

from elastiq import sysfs

ZONES = Path("/sys/class/thermal")
LIMITS = ("passive", "hot", "critical")  # kinds of trip points that slow or stop the device
COLDEST, HOTTEST = -40_000.0, 150_000.0  # thousandths of a degree: beyond, a sensor is broken


class ThermalSensor:
    """Reads `heat`: the highest temperature of all zones, as a share (0…1) of its zone's limit."""

    name = "thermal"
    period = 1.0

    def __init__(self, folder: Path = ZONES) -> None:
        self._limits = {
            zone: limit
            for zone in sysfs.below(folder, "thermal_zone*")
            if (limit := _limit(zone)) is not None
        }

    def read(self) -> dict[str, float] | None:
        shares = [
            min(1.0, max(0.0, degrees / limit))
            for zone, limit in self._limits.items()
            if (degrees := sysfs.number(zone / "temp")) is not None
            and COLDEST <= degrees <= HOTTEST
        ]
        return {"heat": max(shares)} if shares else None


def _limit(zone: Path) -> float | None:
    """The lowest temperature at which something is done about it."""
    found = [
        limit
        for kind in sysfs.below(zone, "trip_point_*_type")
        if sysfs.text(kind) in LIMITS
        and (limit := sysfs.number(kind.with_name(kind.name.replace("_type", "_temp"))))
        and 0.0 < limit <= HOTTEST
    ]
    return min(found, default=None)


def sensor() -> ThermalSensor:
    return ThermalSensor()
