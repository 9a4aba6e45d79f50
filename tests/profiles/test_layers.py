"""The table of layers: the worst first, and gaps where a point has no such layer."""

from __future__ import annotations

from profiles.layers import columns, picture, rows


def part(point, stage="main", **layers):
    found = [{"layer": name, "sqnr": sqnr, "loss": 1.0} for name, sqnr in layers.items()]
    return {"point": point, "stage": stage, "layers": found}


FOUND = [part("queries=4", up=30.0, down=10.0), part("queries=8", up=40.0, down=20.0, extra=5.0)]


def test_the_worst_layer_stands_first_and_gaps_stay_gaps():
    assert [row.layer for row in rows(FOUND)] == ["extra", "down", "up"]
    assert rows(FOUND)[0].cells == (None, (5.0, 1.0))
    assert [row.place for row in rows(FOUND)] == [1, 2, 3]


def test_points_name_their_stage_only_where_there_are_several():
    assert columns(FOUND) == ["queries=4", "queries=8"]
    assert columns([*FOUND, part("queries=8", "policy", up=1.0)])[2] == "queries=8 policy"


def test_every_layer_is_a_dot_that_says_what_it_is():
    drawn = picture(FOUND)
    assert drawn.count("<circle") == 5
    assert "extra at queries=8: 5.0 dB" in drawn
