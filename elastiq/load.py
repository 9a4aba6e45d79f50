"""The device's load, watched off the request path and there at the cost of reading an attribute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from elastiq.protocols import Sensor
from elastiq.sensors import sensors as every_sensor

log = logging.getLogger(__name__)

INTERVAL = 0.05
SMOOTHING = 0.3  # weight of the newest reading: half of a change is seen after two
PATIENCE = 20  # readings in a row that a sensor may miss before it is dropped
STALE = 0.5


@dataclass(frozen=True)
class Load:
    """What the sensors say, smoothed, and until when the least recent of that was good."""

    readings: Mapping[str, float] = field(default_factory=dict)
    taken: float | None = None  # on the monotonic clock; None: never

    @property
    def others(self) -> float:
        """The share (0…1) of all cores that other processes take; 0 where no sensor knows."""
        return self.readings.get("others", 0.0)

    @property
    def busy(self) -> float:
        return self.readings.get("busy", 0.0)

    @property
    def pressure(self) -> float:
        return self.readings.get("pressure", 0.0)

    @property
    def known(self) -> bool:
        return "others" in self.readings

    @property
    def age(self) -> float | None:
        """Seconds since the reading was good."""
        return None if self.taken is None else max(0.0, time.monotonic() - self.taken)

    def __str__(self) -> str:
        if not self.known:
            return "load unknown, taken as 0"
        named = ", ".join(f"{name} {value:.0%}" for name, value in self.readings.items())
        age = self.age or 0.0
        return f"{named} (stale: read {age:.1f} s ago)" if age > STALE else named

    def as_dict(self) -> dict[str, Any]:
        age = self.age
        stale = age is None or age > STALE
        return {**self.readings, "known": self.known, "age_seconds": age, "stale": stale}


class LoadMonitor:
    """Samples the sensors in one thread. A sensor that fails is dropped, and the rest carry on."""

    def __init__(self, sensors: Sequence[Sensor] | None = None, interval: float = INTERVAL) -> None:
        self.latest = Load()
        self._interval = interval
        self._sensors = list(every_sensor() if sensors is None else sensors)
        self._values: dict[str, dict[str, float]] = {}
        self._good_until: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._missed = dict.fromkeys((sensor.name for sensor in self._sensors), 0)
        self._stopping = threading.Event()
        self._sampled = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> Load:
        return self.latest

    def start(self) -> LoadMonitor:
        """Start watching. Returns with the first reading, unless a sensor is slow to give one."""
        if self._thread is None:
            self._stopping.clear()
            self._sampled.clear()
            self._thread = threading.Thread(target=self._watch, name="elastiq-load", daemon=True)
            self._thread.start()
            self._sampled.wait(4 * self._interval)
        return self

    def stop(self) -> None:
        """Stop watching. The last load stays, and grows old."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join()

    def __enter__(self) -> LoadMonitor:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def sample(self) -> Load:
        """Read every sensor whose turn it is once."""
        now = time.monotonic()
        for sensor in tuple(self._sensors):
            if now < self._due.get(sensor.name, now):
                continue
            self._due[sensor.name] = now + sensor.period
            try:
                values = sensor.read()
            except Exception as e:
                self._drop(sensor, logging.WARNING, f"failed: {e!r}")
                continue
            # What cannot be is left out: smoothed, it would spoil all that comes after it.
            shares = {name: value for name, value in (values or {}).items() if 0 <= value <= 1}
            if shares:
                self._take(sensor, shares)
                continue
            self._missed[sensor.name] += 1
            if self._missed[sensor.name] >= PATIENCE:
                self._drop(sensor, logging.INFO, "has nothing to say on this device")
        readings = {name: v for values in self._values.values() for name, v in values.items()}
        self.latest = Load(readings, min(self._good_until.values(), default=None))
        return self.latest

    def _take(self, sensor: Sensor, values: Mapping[str, float]) -> None:
        name = sensor.name
        known = self._values.setdefault(name, {})
        for key, value in values.items():
            before = known.get(key, value)
            known[key] = before + SMOOTHING * (value - before)
        self._good_until[name] = time.monotonic() + sensor.period
        self._missed[name] = 0

    def _drop(self, sensor: Sensor, level: int, why: str) -> None:
        log.log(level, "load sensor %s %s; going on without it", sensor.name, why)
        self._sensors.remove(sensor)
        self._values.pop(sensor.name, None)
        self._good_until.pop(sensor.name, None)

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval):
            self.sample()
            self._sampled.set()
