"""The rehearsal: what it measures is what those meet who send and do not wait."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from elastiq.rehearsal import Beside, _line, _rising, mean, rehearse
from elastiq.requests import Done
from elastiq.rests import COUNT, LENGTHS, NOTHING, flat
from elastiq.worker import Worker

RUN = 0.001


@pytest.fixture
def bundle(make):
    """Makes what looks like a bundle of points that take so long, with engines that do as they are
    told."""

    def made(runs, execute):
        def serve(policy, load, point):
            return Worker(make.dispatcher(runs, policy, point=point), execute)

        return SimpleNamespace(
            manifest=SimpleNamespace(points=[make.point(name, 0.9) for name in runs]),
            table=make.table(runs),
            samples=lambda: SimpleNamespace(input=lambda place: {"x": np.zeros(3)}),
            serve=serve,
            settle=lambda: None,
        )

    return made


def test_all_is_answered_by_the_worker_and_nothing_takes_less_than_no_time(bundle):
    by = set()

    def execute(point, requests, memory=None):
        by.add(threading.get_ident())
        time.sleep(RUN)
        return Done([{} for _ in requests], ["main"])

    beside = rehearse(bundle({"only": RUN}, execute), rare=10)
    assert threading.get_ident() not in by and len(by) == 1
    assert min(beside.handing) > 0.0 and beside.returning == NOTHING
    assert min(beside.stretch, beside.added, *beside.waking, beside.sending, beside.after) >= 0.0
    assert beside.took(RUN) >= RUN


def test_a_run_after_another_points_may_take_longer(bundle):
    before = {}

    def execute(point, requests, memory=None):
        shifts = before.get(threading.get_ident(), point) != point
        before[threading.get_ident()] = point
        time.sleep(5 * RUN if shifts else RUN)
        return Done([{} for _ in requests], ["main"])

    runs = {f"p{place:02}": RUN for place in range(13)}  # more than fit into the queue
    beside = rehearse(bundle(runs, execute), rare=2)
    assert beside.returning[0] > 2 * RUN
    assert beside.took(RUN) < beside.returning[0]  # which other runs do not take


@pytest.mark.parametrize("stretch, added", [(1.0, 0.0), (1.6, 0.0), (0.7, 0.0002), (1.3, 0.0005)])
def test_a_slower_device_is_told_from_colder_caches(stretch, added):
    measured = [0.001, 0.004, 0.002]
    found = _line(measured, [stretch * run + added for run in measured])
    assert found == pytest.approx((stretch, added))


def test_what_was_found_after_rests_is_made_to_rise():
    assert _rising([-1e-4, 1e-4, 3e-4, 2e-4, 5e-4]) == (0.0, 1e-4, 3e-4, 3e-4, 5e-4, 5e-4)
    assert len(_rising([0.0] * COUNT)) == len(NOTHING)


def test_a_point_that_stays_gets_cold_as_the_device_does_and_one_that_returns_by_itself():
    beside = Beside(waking=(0.0, 1.0, 2.0, 2.0, 2.0, 2.0), returning=(3.0, 3.0, 3.0, 5.0, 5.0, 5.0))
    assert beside.starting(0.0, 0.0, moved=False) == 0.0
    assert beside.starting(0.0, 0.0, moved=True) == 3.0
    assert beside.starting(0.0, LENGTHS[2], moved=True) == 5.0
    assert beside.starting(LENGTHS[0], LENGTHS[0], moved=False) == 1.0
    assert beside.starting(1.0, 1.0, moved=False) == 2.0 + 5.0 - 3.0


def test_in_the_middle_of_two_lies_the_mean_of_each():
    one, other = Beside(stretch=1.0, waking=flat(1e-3)), Beside(stretch=2.0, waking=flat(3e-3))
    found = mean([one, other])
    assert found.stretch == 1.5 and found.waking == pytest.approx(flat(2e-3))
    assert found.handing == one.handing and "1.50 times" in str(found)


def test_one_point_alone_is_taken_to_be_slower_and_no_run_to_be_less_than_half_its_own():
    assert _line([0.001], [0.0015]) == pytest.approx((1.5, 0.0))
    stretch, added = _line([0.001, 0.01], [0.005, 0.004])
    assert stretch > 0.0 and added == pytest.approx(0.002)


def test_those_who_run_faster_than_measured_get_nothing_off():
    stretch, added = _line([0.001, 0.01], [0.0005, 0.009])
    assert added == 0.0 and 0.5 < stretch < 0.9
