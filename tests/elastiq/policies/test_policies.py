"""Policies by name."""

import pytest

from elastiq import policies
from elastiq.errors import ElastiqError
from elastiq.policies import Situation


def test_every_policy_has_the_name_of_its_module():
    needed = {"fixed": {"point": "0"}}
    for name in policies.names():
        assert policies.policy(name, **needed.get(name, {})).name == name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dedline", {}, "Did you mean 'deadline'"),
        ("deadline", {"margn": 0.1}, "Did you mean 'margin'"),
        ("fixed", {}, "needs the option 'point'"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(name, options, message):
    with pytest.raises(ElastiqError, match=message):
        policies.policy(name, **options)


def test_options_may_stand_behind_the_name():
    assert policies.policy("utility:watts=5:stay=0.1") == policies.policy(
        "utility", watts=5.0, stay=0.1
    )
    assert policies.policy("fixed:point=queries=16,batch=4").point == "queries=16,batch=4"


@pytest.mark.parametrize("stay", ["-0.1", "nan", "inf"])
def test_what_a_change_must_be_worth_is_a_number(stay):
    with pytest.raises(ElastiqError, match="stay is"):
        policies.policy(f"utility:stay={stay}")


@pytest.mark.parametrize("told", ["utility:watts", "utility:wats=5", "utility:watts=many"])
def test_options_that_make_no_sense_are_refused(told):
    with pytest.raises(ElastiqError, match="watts"):
        policies.policy(told)


def test_fixed_takes_its_point_whatever_happens(make):
    options = make.options((1, 0.5), (2, 0.7), (3, 0.9))
    fixed = policies.policy("fixed", point="1")
    for slacks in ((None,), (-1.0,), (1e-9, 1e9)):
        assert fixed.choose(options, Situation(1.0, slacks, 2)).index == 1


def test_fixed_says_which_points_there_are(make):
    with pytest.raises(ElastiqError, match="no point is called '3'"):
        options = make.options((1, 0.5), (2, 0.7))
        policies.policy("fixed", point="3").choose(options, Situation(0.0, (None,), None))
