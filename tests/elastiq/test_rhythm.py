"""What is heard of arrivals, and what is made of it."""

import numpy as np
import pytest

from elastiq import gaps
from elastiq.rhythm import AT_RANDOM, LEAST_SILENCE, OVER, Listener


def heard(moments, deadline=None):
    listener = Listener()
    for moment in moments:
        listener.hear(moment, deadline)
    return listener.rhythm


def arrivals(evenness, pace=0.01, count=1000, seed=0):
    each = np.random.default_rng(seed).gamma(evenness, pace / evenness, count)
    return np.cumsum(each).tolist()


def test_nothing_is_known_of_silence():
    assert heard([]) == (None, AT_RANDOM, None)
    assert heard([1.0]) == (None, AT_RANDOM, None)


def test_a_beat_is_heard():
    rhythm = heard(np.arange(500) * 0.02, deadline=0.1)
    assert rhythm.pace == pytest.approx(0.02)
    assert rhythm.soon < 0.01
    assert rhythm.given == pytest.approx(0.1)


def test_clumps_random_arrivals_and_a_beat_are_told_apart():
    shares = [heard(arrivals(evenness)).soon for evenness in (0.06, 0.25, 1.0, 4.0)]
    assert shares == sorted(shares, reverse=True)
    assert min(-np.diff(shares)) > 0.05


@pytest.mark.parametrize("seed", range(20))
def test_random_arrivals_are_hardly_taken_for_anything_else(seed):
    assert heard(arrivals(1.0, seed=seed)).soon == pytest.approx(AT_RANDOM, abs=0.2)


def test_a_night_without_requests_is_soon_forgotten():
    before = arrivals(1.0)
    after = [1e5 + moment for moment in arrivals(1.0, count=100, seed=1)]
    rhythm = heard([*before, *after])
    assert rhythm.pace == pytest.approx(0.01, rel=0.8)
    assert rhythm.soon == pytest.approx(AT_RANDOM, abs=0.2)


@pytest.mark.parametrize("evenness", [1.0, 1 / 4, 1 / 16])
def test_where_one_may_wait_for_long_clumps_hide_the_pace_no_more(evenness):
    paces = [heard(arrivals(evenness, seed=seed), deadline=1.0).pace for seed in range(40)]
    assert np.quantile(np.abs(np.log(np.array(paces) / 0.01)), 0.8) < 0.4


@pytest.mark.parametrize(("before", "gaps"), [(0.02 * np.arange(100), 3), (arrivals(1.0), 12)])
def test_a_rush_is_heard_within_a_few_gaps(before, gaps):
    rush = before[-1] + heard(before).pace / 4 * np.arange(1, gaps + 1)
    assert heard([*before, *rush]).pace == pytest.approx(heard(before).pace / 4, rel=0.1)


@pytest.mark.parametrize("evenness", [0.06, 1.0, 4.0])
def test_chance_is_rarely_taken_for_a_rush(evenness):
    listener, rushes = Listener(), 0
    for moment in arrivals(evenness, count=5000):
        before = listener.rhythm.pace or 0.0
        listener.hear(moment, None)
        rushes += (listener.rhythm.pace or 0.0) < (1 - 1 / OVER) * before
    assert rushes < 0.005 * 5000


@pytest.mark.parametrize("silence", [0.004, 0.02, 0.1, 5.0])
def test_what_is_expected_of_the_next_is_what_is_heard_then(silence):
    listener, moments = Listener(), arrivals(1.0)
    assert listener.expected(1.0) == listener.rhythm
    for moment in moments:
        listener.hear(moment, None)
    expected = listener.expected(moments[-1] + silence)
    listener.hear(moments[-1] + silence, None)
    assert listener.rhythm.pace == pytest.approx(expected.pace)


def test_of_a_silence_there_is_news_ever_more_rarely_and_then_none():
    listener, now, waits = Listener(), 0.0, []
    assert listener.until_news(1e9) is None
    for now in np.arange(100) * 0.01:
        listener.hear(now, None)
    while (wait := listener.until_news(now)) is not None:
        waits.append(wait)
        now += wait
    assert waits[0] == LEAST_SILENCE and waits == sorted(waits) and len(waits) < 12
    paces = [listener.expected(later).pace for later in (now, now + 1e6)]
    assert paces[1] == pytest.approx(paces[0], rel=0.01)


def test_the_first_gaps_count_alike():
    assert heard([0.0, 1.0, 4.0]).pace == pytest.approx(2.0)


def test_what_came_without_a_deadline_tells_nothing_of_deadlines():
    listener = Listener()
    for deadline in (0.1, None, float("inf"), -1.0, float("nan")):
        listener.hear(0.0, deadline)
    assert listener.rhythm.given == pytest.approx(0.1)


@pytest.mark.parametrize("evenness", [0.05, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("count", [1, 4])
def test_gaps_are_as_long_as_drawn_ones(evenness, count):
    drawn = np.random.default_rng(0).gamma(evenness, 2.0 / evenness, (20000, count)).sum(1)
    times = np.array([0.0, 0.01, 0.3, 1.0, 3.0, 10.0, 50.0])
    expected = [(drawn > time).mean() for time in times]
    assert gaps.later(times, 2.0, evenness, count) == pytest.approx(expected, abs=0.015)
    passed = [np.minimum(drawn, time).mean() for time in times]
    assert gaps.within(times, 2.0, evenness, count) == pytest.approx(passed, rel=0.08, abs=0.001)


@pytest.mark.parametrize("evenness", [0.02, 0.1, 0.5, 1.0, 3.0])
def test_evenness_is_found_from_how_many_come_soon(evenness):
    drawn = np.random.default_rng(0).gamma(evenness, 1.0 / evenness, 100000)
    assert gaps.evenness((drawn < 0.5).mean()) == pytest.approx(evenness, rel=0.1)


def test_any_share_has_an_evenness():
    found = [gaps.evenness(share) for share in (-1.0, 0.0, 0.2, AT_RANDOM, 0.9, 1.0, 2.0)]
    assert found == sorted(found, reverse=True) and 0.0 < found[-1] < found[0] <= 8.0
    assert found[3] == pytest.approx(1.0, rel=0.01)
