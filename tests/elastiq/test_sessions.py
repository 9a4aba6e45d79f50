"""Sessions: bounded in number and bytes, over when idle, and never mistaken for each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import ElastiqError, SessionLost
from elastiq.sessions import Sessions

LIMIT, ROOM, IDLE = 4, 100, 10.0


class Kept:
    """What a driver would keep; tests say how large it is."""

    def __init__(self):
        self.size = 0


class Now:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Now()


@pytest.fixture
def sessions(clock):
    return Sessions(Kept, LIMIT, ROOM, IDLE, clock)


def grow(sessions, name, size):
    sessions.find(name).size += size
    sessions.grown(name)


def test_a_session_keeps_what_is_its_own(sessions):
    one, other = sessions.begin(), sessions.begin("other")
    assert one != other == "other"
    assert sessions.find(one) is sessions.find(one) is not sessions.find(other)
    sessions.end(one)
    sessions.end(one)  # that it is over already is nobody's mistake
    with pytest.raises(SessionLost, match=one):
        sessions.find(one)
    assert len(sessions) == 1


def test_a_name_is_had_once(sessions):
    sessions.begin("a")
    with pytest.raises(ElastiqError, match="has begun already"):
        sessions.begin("a")


def test_who_was_idle_for_longest_makes_room(sessions):
    names = [sessions.begin() for _ in range(LIMIT)]
    sessions.find(names[0])
    sessions.begin()
    assert len(sessions) == LIMIT
    sessions.find(names[0])
    with pytest.raises(SessionLost):
        sessions.find(names[1])


def test_bytes_are_bounded_too(sessions):
    small, large = sessions.begin(), sessions.begin()
    grow(sessions, small, 40)
    grow(sessions, large, 60)
    assert sessions.size == 100
    grow(sessions, large, 1)
    assert sessions.size == 61
    with pytest.raises(SessionLost):
        sessions.find(small)
    grow(sessions, large, 100)  # too large even alone
    assert len(sessions) == sessions.size == 0


def test_the_idle_are_over(sessions, clock):
    one, other = sessions.begin(), sessions.begin()
    clock.now = IDLE
    sessions.find(other)
    clock.now = IDLE + 1
    with pytest.raises(SessionLost, match="idle for 10 s"):
        sessions.find(one)
    sessions.find(other)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from("abcdefgh")),
        st.tuples(st.just("grow"), st.sampled_from("abcdefgh"), st.integers(0, 60)),
        st.tuples(st.just("end"), st.sampled_from("abcdefgh")),
        st.tuples(st.just("wait"), st.floats(0.0, 2 * IDLE)),
    ),
    max_size=60,
)


@given(actions)
def test_bounds_hold_and_nobody_gets_anothers(actions):
    clock = Now()
    sessions = Sessions(Kept, LIMIT, ROOM, IDLE, clock)
    known, used = {}, {}
    for action, *details in actions:
        if action == "wait":
            clock.now += details[0]
            continue
        name = details[0]
        try:
            if action == "begin":
                sessions.begin(name)
                known[name] = sessions.find(name)
            elif action == "grow":
                assert sessions.find(name) is known[name]
                assert clock.now - used[name] <= IDLE
                grow(sessions, name, details[1])
            else:
                sessions.end(name)
                known.pop(name, None)
            used[name] = clock.now
        except SessionLost:
            known.pop(name, None)
        except ElastiqError:
            assert action == "begin" and name in known
        assert len(sessions) <= LIMIT
        assert 0 <= sessions.size <= ROOM
