"""Charts of whatever values there are."""

import math
import re

import pytest

from profiles.charts import Mark, Series, chart

TEN = 10.0


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0],
        [TEN, TEN],
        [TEN, math.nextafter(TEN, 20.0)],  # the same, added up in another order
        [-TEN, -math.nextafter(TEN, 20.0)],
        [1e-12, 2e-12],
        [0.0, 100.0],
    ],
)
def test_every_dot_is_inside_and_the_axis_has_ticks(values):
    marks = [Mark(place, value, "one") for place, value in enumerate(values)]
    drawn = chart([Series("all", marks)], "place", "value")
    heights = [float(y) for y in re.findall(r'cy="([^"]+)"', drawn)]
    assert len(heights) == len(values)
    assert all(0.0 <= y <= 360.0 for y in heights)
    assert drawn.count("<text") > 4
