"""The load monitor: real threads, sensors that fail, and readings that grow old."""

import itertools
import logging
import threading
import time

import pytest

from elastiq.load import PATIENCE, STALE, Load, LoadMonitor


class Sensor:
    """Says the values it is given, one after another, and then the last for ever."""

    period = 0.0

    def __init__(self, *values, name="test"):
        self.name = name
        self._values = itertools.chain(values, itertools.repeat(values[-1]))
        self.reads = 0

    def read(self):
        self.reads += 1
        value = next(self._values)
        if isinstance(value, Exception):
            raise value
        return value


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_it_watches_in_its_own_thread_until_it_is_stopped():
    sensor = Sensor({"others": 0.4, "busy": 0.6})
    with LoadMonitor([sensor], interval=0.005) as monitor:
        assert monitor().others == 0.4  # the first reading is there at once
        until(lambda: sensor.reads > 3)
    reads = sensor.reads
    time.sleep(0.05)
    assert sensor.reads == reads
    assert not [t for t in threading.enumerate() if t.name == "elastiq-load"]


def test_it_can_be_started_and_stopped_twice():
    monitor = LoadMonitor([Sensor({"others": 0.5})], interval=0.005)
    for _ in range(2):
        monitor.start()
        monitor.start()
        monitor.stop()
        monitor.stop()
    assert monitor.latest.known


def test_a_spike_is_smoothed_and_a_change_is_followed():
    monitor = LoadMonitor([Sensor({"others": 0.0}, {"others": 1.0})])
    seen = [monitor.sample().others for _ in range(20)]
    assert seen == sorted(seen)
    assert 0.0 < seen[1] < 0.5
    assert seen[-1] == pytest.approx(1.0, abs=0.01)


def test_a_sensor_that_fails_is_dropped_and_the_rest_carry_on(caplog):
    broken = Sensor({"pressure": 0.3}, OSError("gone"), name="broken")
    fine = Sensor({"others": 0.2}, name="fine")
    monitor = LoadMonitor([broken, fine])
    assert monitor.sample().pressure == 0.3
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            load = monitor.sample()
    assert load.readings == {"others": pytest.approx(0.2)}
    assert broken.reads == 2
    assert len(caplog.records) == 1
    assert "broken" in caplog.text and "gone" in caplog.text


def test_a_sensor_that_says_nothing_for_long_is_dropped():
    silent, fine = Sensor(None, name="silent"), Sensor({"others": 0.2}, name="fine")
    monitor = LoadMonitor([silent, fine])
    for _ in range(2 * PATIENCE):
        monitor.sample()
    assert silent.reads == PATIENCE
    assert monitor.latest.others == pytest.approx(0.2)


def test_without_a_sensor_the_load_is_nought_and_says_so():
    with LoadMonitor([], interval=0.005) as monitor:
        load = monitor()
    assert (load.others, load.busy, load.pressure) == (0.0, 0.0, 0.0)
    assert not load.known
    assert "unknown" in str(load)
    assert load.as_dict()["stale"] is True


def test_a_reading_grows_old_and_says_so():
    fresh = Load({"others": 0.5}, time.monotonic())
    stale = Load({"others": 0.5}, time.monotonic() - 2 * STALE)
    assert fresh.age < STALE < stale.age
    assert "stale" in str(stale) and "stale" not in str(fresh)
    assert stale.as_dict()["stale"] and not fresh.as_dict()["stale"]


def test_the_age_is_that_of_the_sensor_that_spoke_least_recently():
    monitor = LoadMonitor([Sensor({"others": 0.1}, None, name="a"), Sensor({"x": 1.0}, name="b")])
    taken = monitor.sample().taken
    time.sleep(0.002)
    assert monitor.sample().taken == taken


def test_the_sensors_of_this_machine_make_a_load():
    with LoadMonitor(interval=0.03) as monitor:
        until(lambda: monitor().taken is not None or not monitor._sensors)
        assert all(0.0 <= value <= 1.0 for value in monitor().readings.values())


def test_a_slow_sensor_is_read_when_its_time_has_come_and_is_not_stale_before():
    slow, quick = Sensor({"heat": 0.5}, name="slow"), Sensor({"others": 0.1}, name="quick")
    slow.period = 0.05
    monitor = LoadMonitor([slow, quick])
    for _ in range(5):
        load = monitor.sample()
    assert (slow.reads, quick.reads) == (1, 5)
    assert load.readings == {"heat": 0.5, "others": pytest.approx(0.1)}
    slow.period, slow_only = 30.0, LoadMonitor([slow])
    assert slow_only.sample().age == 0.0
    until(lambda: monitor.sample() and slow.reads > 2)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, 1e9])
def test_a_value_that_cannot_be_spoils_nothing(wrong):
    monitor = LoadMonitor(
        [Sensor({"others": 0.5}, {"others": wrong, "busy": 0.6}, {"others": 0.5})]
    )
    seen = [monitor.sample().others for _ in range(4)]
    assert seen == pytest.approx([0.5] * 4)
    always = Sensor({"others": wrong}, name="wrong")
    monitor = LoadMonitor([always])
    for _ in range(2 * PATIENCE):
        monitor.sample()
    assert always.reads == PATIENCE and not monitor.latest.known
