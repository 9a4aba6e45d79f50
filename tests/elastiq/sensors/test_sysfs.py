"""Sensors that read the kernel's small files: over trees that were made up, whole and broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq import sysfs
from elastiq.sensors.frequency import FrequencySensor
from elastiq.sensors.jetson import JetsonSensor
from elastiq.sensors.memory import sensor as memory_sensor
from elastiq.sensors.power import GOVERNOR, MODE, PREFERENCE, PROFILE, PowerSensor
from elastiq.sensors.thermal import ThermalSensor
from elastiq.sensors.throttling import ThrottlingSensor


def tree(root, **files):
    """Files by their paths, where `__` stands for a slash."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def zone(number, degrees, **trips):
    made = {f"thermal_zone{number}__temp": degrees}
    for place, (kind, limit) in enumerate(trips.items()):
        made[f"thermal_zone{number}__trip_point_{place}_type"] = kind
        made[f"thermal_zone{number}__trip_point_{place}_temp"] = limit
    return made


def test_heat_is_the_share_of_the_lowest_limit_in_the_zone_nearest_to_its_own(tmp_path):
    cool = zone(0, 40_000, active=30_000, passive=80_000, critical=100_000)
    warm = zone(1, 81_000, critical=90_000)
    unlimited = zone(2, 99_000)
    sensor = ThermalSensor(tree(tmp_path, **cool, **warm, **unlimited))
    assert sensor.read() == {"heat": 0.9}
    (tmp_path / "thermal_zone1" / "temp").write_text("120000")
    assert sensor.read() == {"heat": 1.0}
    (tmp_path / "thermal_zone1" / "temp").unlink()  # gone, as drivers go
    assert sensor.read() == {"heat": 0.5}


@pytest.mark.parametrize("wrong", ["-274000", "999999", "", "hot", "nan", "1e400"])
def test_a_temperature_that_cannot_be_is_left_out(tmp_path, wrong):
    sensor = ThermalSensor(tree(tmp_path, **zone(0, wrong, passive=80_000)))
    assert sensor.read() is None


def test_throttling_is_told_by_counters_that_rise(tmp_path):
    count = "cpu{}__thermal_throttle__core_throttle_count"
    cpus = tree(tmp_path / "cpu", **{count.format(0): 7, count.format(1): 0})
    sensor = ThrottlingSensor(cpus, tmp_path / "none")
    assert sensor.read() == {"throttled": 0.0}
    tree(cpus, **{count.format(1): 1})
    assert sensor.read() == {"throttled": 1.0}
    assert sensor.read() == {"throttled": 0.0}
    tree(cpus, **{count.format(0): "broken"})
    assert sensor.read() == {"throttled": 0.0}
    tree(cpus, **{count.format(0): 3})  # began anew: nothing to compare with
    assert sensor.read() == {"throttled": 0.0}


def test_throttling_is_told_by_what_was_turned_down_and_not_by_fans(tmp_path):
    cooling = tree(
        tmp_path,
        cooling_device0__type="Processor",
        cooling_device0__cur_state=3,
        cooling_device0__max_state=10,
        cooling_device1__type="Fan",
        cooling_device1__cur_state=1,
        cooling_device1__max_state=1,
        cooling_device2__type="cpufreq-cpu4",
        cooling_device2__cur_state=9,
        cooling_device2__max_state=0,
    )
    assert ThrottlingSensor(tmp_path / "none", cooling).read() == {"throttled": 0.3}


def test_frequency_is_the_share_of_the_highest_over_all_cores(tmp_path):
    cores = {}
    for core, now in enumerate((1_000_000, 2_000_000, 2_100_000)):
        cores[f"cpu{core}__cpufreq__scaling_cur_freq"] = now
        cores[f"cpu{core}__cpufreq__cpuinfo_max_freq"] = 2_000_000
    sensor = FrequencySensor(tree(tmp_path, **cores, cpuidle__cpufreq__scaling_cur_freq=1))
    assert sensor.read() == {"frequency": pytest.approx((0.5 + 1 + 1) / 3)}
    (tmp_path / "cpu0" / "cpufreq" / "scaling_cur_freq").write_text("<unknown>")
    assert sensor.read() == {"frequency": 1.0}


def test_saving_is_told_by_whoever_knows(tmp_path):
    sensor = PowerSensor(tmp_path)
    assert sensor.read() is None
    for path, told, saving in (
        (GOVERNOR, "powersave", None),  # of some drivers it is the usual one: it says nothing
        (GOVERNOR, "performance", 0.0),
        (PREFERENCE, "balance_power", 0.75),
        (PROFILE, "low-power", 1.0),
        (PROFILE, "balanced", 0.5),
        (MODE, "pmode:0002", 1.0),
        (MODE, "pmode:0000", 0.0),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(told)
        assert sensor.read() == (None if saving is None else {"saving": saving}), path


def test_memory_pressure_is_pressure_by_another_name():
    sensor = memory_sensor()
    assert sensor.name == "memory"
    values = sensor.read()
    assert values is None or 0.0 <= values["memory"] <= 1.0


class Top:
    """What jtop says."""

    def __init__(self, *, ok=True, **stats):
        self._ok, self.stats = ok, stats

    def ok(self, spin):
        return self._ok


def test_a_jetson_is_read_by_jtop_and_else_by_the_kernel(tmp_path):
    assert JetsonSensor(tmp_path).read() is None
    load = tmp_path / "sys/devices/platform/gpu.0/load"
    load.parent.mkdir(parents=True)
    load.write_text("250")
    assert JetsonSensor(tmp_path).read() == {"gpu": 0.25}
    assert JetsonSensor(tmp_path, Top(GPU=75)).read() == {"gpu": 0.75}
    assert JetsonSensor(tmp_path, Top()).read() == {"gpu": 0.25}
    assert JetsonSensor(tmp_path, Top(ok=False, GPU=75)).read() == {"gpu": 0.25}
    load.write_text("4000")
    assert JetsonSensor(tmp_path).read() is None


@given(st.one_of(st.binary(max_size=60), st.from_regex(r"\A-?\d{1,12}\Z").map(str.encode)))
def test_no_content_makes_a_sensor_fail_or_leave_its_range(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("sys")
    made = [
        *zone(0, 1, passive=80_000),
        "cooling_device0__type",
        "cooling_device0__cur_state",
        "cooling_device0__max_state",
        "cpu0__cpufreq__scaling_cur_freq",
        "cpu0__cpufreq__cpuinfo_max_freq",
        "cpu0__thermal_throttle__core_throttle_count",
    ]
    tree(root, **dict.fromkeys(made, 1), **zone(1, 40_000, critical=90_000))
    for path in (GOVERNOR, PROFILE, MODE, "sys/devices/gpu.0/load"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    for name in made:
        (root / name.replace("__", "/")).write_bytes(content)
    for sensor in (
        ThermalSensor(root),
        ThrottlingSensor(root, root),
        FrequencySensor(root),
        PowerSensor(root),
        JetsonSensor(root),
    ):
        values = sensor.read()
        assert values is None or all(0.0 <= value <= 1.0 for value in values.values())


def test_a_file_is_read_to_a_length_and_no_further(tmp_path):
    (tmp_path / "long").write_text("1" * 10**6)
    assert len(sysfs.text(tmp_path / "long")) == sysfs.LONGEST
    assert sysfs.text(tmp_path) is None and sysfs.number(tmp_path / "none") is None
