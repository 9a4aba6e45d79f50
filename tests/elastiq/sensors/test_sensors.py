"""What every sensor promises."""

import pkgutil

from elastiq import sensors


def test_every_module_is_named():
    assert set(sensors.NAMES) == {module.name for module in pkgutil.iter_modules(sensors.__path__)}


def test_every_sensor_reads_shares_or_nothing():
    for name, sensor in zip(sensors.NAMES, sensors.sensors(), strict=True):
        assert sensor.name == name
        values = sensor.read()
        assert values is None or all(0.0 <= value <= 1.0 for value in values.values())
