"""What every sensor promises."""

from elastiq import plugins, sensors


def test_every_sensor_has_the_name_of_its_module_and_reads_shares_or_nothing():
    names = plugins.names("elastiq.sensors")
    for name, sensor in zip(names, sensors.sensors(), strict=True):
        assert sensor.name == name
        values = sensor.read()
        assert values is None or all(0.0 <= value <= 1.0 for value in values.values())
