"""Scripts of background load: as they are written, and what they say at a moment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import ElastiqError
from elastiq.hog import IDLE, Hog, read

shares = st.floats(0.0, 1.0)
scripts = st.lists(st.tuples(st.floats(0.001, 100.0), shares), max_size=5, unique_by=lambda s: s[0])


@given(shares, scripts)
def test_what_is_written_is_read_again(first, later):
    hog = Hog(((0.0, first), *sorted(later)))
    text = ",".join(f"{begin}:{share}" for begin, share in hog.script)
    assert read(text) == hog
    for begin, share in hog.script:
        assert hog.at(begin) == share <= hog.most


def test_a_share_holds_until_the_next():
    hog = read("1:0.5,3:0.25")
    assert [hog.at(moment) for moment in (0, 0.9, 1, 2.9, 3, 100)] == [0, 0, 0.5, 0.5, 0.25, 0.25]
    assert hog.between(0, 3) == [(1.0, 0.5)]
    assert str(hog) == "0% from 0 s, 50% from 1 s, 25% from 3 s"
    assert read("0.5").script == ((0.0, 0.5),) and str(read("0.5")) == "50% of the CPU"
    assert IDLE.most == 0


@pytest.mark.parametrize("text", ["", "x", "2", "-1", "nan", "1:0.5,1:0.6", "2:0.5,1:0", "0:0:1"])
def test_what_is_none_is_refused(text):
    with pytest.raises(ElastiqError, match="no background load"):
        read(text)
