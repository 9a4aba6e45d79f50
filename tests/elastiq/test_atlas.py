"""Situations, and which lies next to another."""

from elastiq.atlas import ALIKE, KEPT, RARE_APART, REGION, Atlas, Key
from elastiq.values import last, steps


def test_of_what_was_found_the_oldest_makes_room(make):
    atlas, values = Atlas(), last(steps(make.options((1.0, 0.6), (2.0, 0.9)), 5.0, 0.2, 0.0))
    keys = [Key((0.6, 0.9), (1, 1), 0, 0, rare, 0, 0, 0) for rare in range(KEPT + 3)]
    for key in keys:
        atlas.keep(key, values)
        atlas.keep(key, values)
    away = [atlas.nearest(key)[1] // RARE_APART for key in keys]
    assert away == [3, 2, 1, *[0] * KEPT]


def test_what_lies_beside_the_last_is_not_looked_for_among_all(make, monkeypatch):
    atlas, values = Atlas(), last(steps(make.options((1.0, 0.6), (2.0, 0.9)), 5.0, 0.2, 0.0))
    here, beside, far = (Key((0.6, 0.9), (1, 1), 0, 0, rare, 0, 0, 0) for rare in (0, REGION, 40))
    atlas.keep(here, values)
    away = RARE_APART * REGION
    assert away <= ALIKE and atlas.close(beside) == (here, away)
    asked, nearest = [], atlas.nearest
    monkeypatch.setattr(atlas, "nearest", lambda key: asked.append(key) or nearest(key))
    assert atlas.close(beside) == (here, away)
    assert not asked
    assert atlas.close(far) == (here, RARE_APART * 40)
    assert asked == [far]
    for rare in range(100, 100 + KEPT):  # the first made room
        atlas.keep(here._replace(rare=rare), values)
    assert atlas.close(beside)[0] == here._replace(rare=100)
