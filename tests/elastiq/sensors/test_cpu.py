"""The CPU sensor: shares from counters, and None for anything it cannot trust."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.sensors.cpu import STAT, CpuSensor


def stat(user=0, nice=0, system=0, idle=0, io_wait=0):
    return f"cpu  {user} {nice} {system} {idle} {io_wait} 0 0 0 0 0\ncpu0 1 2 3 4\nintr 5\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "stat"
    path.write_text(stat())
    return path


def test_busy_is_what_is_not_idle_and_others_what_is_not_our_own(file):
    own = [0.0]
    sensor = CpuSensor(file, lambda: own[0])
    own[0] = 0.2  # of two seconds: 200 ticks of 10 ms
    file.write_text(stat(user=60, nice=10, system=30, idle=80, io_wait=20))
    assert sensor.read() == pytest.approx({"busy": 0.5, "own": 0.1, "others": 0.4})


def test_own_time_beyond_the_coarse_ticks_does_not_turn_others_negative(file):
    own = [0.0]
    sensor = CpuSensor(file, lambda: own[0])
    own[0] = 0.9
    file.write_text(stat(user=50, idle=50))
    assert sensor.read()["others"] == 0.0


def test_it_is_absent_where_the_file_is(tmp_path):
    assert CpuSensor(tmp_path / "nothing").read() is None
    assert CpuSensor(tmp_path).read() is None


def test_a_file_that_stands_still_or_goes_back_says_nothing(file):
    file.write_text(stat(user=50, idle=50))
    sensor = CpuSensor(file)
    assert sensor.read() is None
    file.write_text(stat(user=10, idle=10))
    assert sensor.read() is None
    file.write_text(stat(user=20, idle=20))
    assert sensor.read()["busy"] == pytest.approx(0.5)


def test_a_file_that_comes_back_is_read_again(file):
    sensor = CpuSensor(file)
    file.write_text("garbage")
    assert sensor.read() is None
    file.write_text(stat(user=10, idle=10))
    assert sensor.read() is None
    file.write_text(stat(user=20, idle=20))
    assert sensor.read() is not None


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.integers(), max_size=12).map(
            lambda fields: ("cpu " + " ".join(map(str, fields))).encode()
        ),
        st.integers(300, 5000).map(lambda digits: f"cpu 1 2 3 {'9' * digits} 5".encode()),
    )
)
def test_no_content_makes_it_fail_or_leave_its_range(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("proc") / "stat"
    path.write_text(stat())
    sensor = CpuSensor(path)
    path.write_bytes(content)
    values = sensor.read()
    assert values is None or all(0.0 <= value <= 1.0 for value in values.values())


@pytest.mark.skipif(not STAT.exists(), reason="only Linux has /proc/stat")
def test_it_sees_our_own_work_on_this_machine():
    sensor = CpuSensor()
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    values = sensor.read()
    assert 0.0 < values["own"] <= 1.0
    assert values["busy"] > 0.0
