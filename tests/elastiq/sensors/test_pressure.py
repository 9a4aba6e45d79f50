"""The pressure sensor: the share of the time that somebody waited, or None."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.sensors.pressure import PressureSensor


def pressure(total):
    return f"some avg10=1.00 avg60=2.00 avg300=3.00 total={total}\nfull avg10=0.00 total=0\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cpu"
    path.write_text(pressure(1_000_000))
    return path


def test_it_is_the_stall_since_the_last_read(file):
    now = [0.0]
    sensor = PressureSensor(file, lambda: now[0])
    now[0] = 2.0
    file.write_text(pressure(1_500_000))
    assert sensor.read() == pytest.approx({"pressure": 0.25})
    now[0] = 3.0
    assert sensor.read() == {"pressure": 0.0}


def test_a_clock_or_counter_that_does_not_go_on_says_nothing(file):
    now = [0.0]
    sensor = PressureSensor(file, lambda: now[0])
    assert sensor.read() is None
    now[0] = 1.0
    file.write_text(pressure(5))
    assert sensor.read() is None


def test_it_is_absent_where_the_file_is(tmp_path):
    assert PressureSensor(tmp_path / "nothing").read() is None


@given(
    st.one_of(
        st.binary(max_size=100),
        st.integers().map(lambda total: pressure(total).encode()),
        st.integers(300, 5000).map(lambda digits: pressure("9" * digits).encode()),
    )
)
def test_no_content_makes_it_fail_or_leave_its_range(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("proc") / "cpu"
    path.write_text(pressure(0))
    sensor = PressureSensor(path)
    path.write_bytes(content)
    values = sensor.read()
    assert values is None or 0.0 <= values["pressure"] <= 1.0
