"""What is known of runs today, and what an option is by that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.policies import Option
from elastiq.today import Today

MEASURED = Option("middle", 0.9, 1.0, 1.2, 2.0, 1.1, 4, 5.0)
shares = st.floats(0.0, 3.0)
today = st.builds(
    Today, st.floats(0.5, 4.0), shares, st.floats(1.0, 8.0), st.floats(1.0, 8.0), shares, shares
)


def test_a_device_that_is_as_it_was_measured_changes_nothing():
    assert Today().option(MEASURED) == MEASURED


def test_what_passes_before_a_run_is_waited_for_and_what_passes_after_it_by_others():
    option = Today(before=0.5, after=0.25).option(MEASURED)
    assert option[2:6] == (1.5, 1.7, 2.5, 1.6)
    assert option.after == 0.25
    assert option.busy == 1.85


def test_runs_spread_more_widely():
    option = Today(likely=3.0, worst=2.0).option(MEASURED)
    assert option[2:5] == (1.0, pytest.approx(1.6), pytest.approx(3.0))
    assert option.mean > MEASURED.mean


@given(today, st.floats(1e-6, 10.0), st.lists(st.floats(0.0, 5.0), min_size=2, max_size=2))
def test_longer_runs_stay_longer(today, usual, steps):
    likely = usual + steps[0]
    measured = Option("", 0.5, usual, likely, likely + steps[1], usual + 0.2 * steps[0])
    option = today.option(measured)
    assert today.before < option.typical <= option.likely <= option.worst
    plain = today._replace(likely=1.0, worst=1.0).option(measured)
    assert option.typical == plain.typical
    assert all(now >= then for now, then in zip(option[3:6], plain[3:6], strict=True))
