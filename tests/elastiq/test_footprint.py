"""What engines take of memory, in fresh processes."""

from __future__ import annotations

import json

import pytest

from elastiq import footprint
from elastiq.errors import ElastiqError


def test_every_point_is_measured_in_order(elastiq, tiny_bundle):
    shown = json.loads(elastiq("inspect", tiny_bundle, "--memory", "--json", check=0).stdout)
    points = [point["name"] for point in shown["manifest"]["points"]]
    assert list(shown["memory"]) == points
    first, *others = shown["memory"].values()
    assert first > 1e6  # a runtime
    runtimes = {
        point["stages"]["main"]["engine"].split("/")[2] for point in shown["manifest"]["points"]
    }
    assert len(runtimes) > 1 or all(added < first for added in others)


def test_a_person_sees_the_sum(elastiq, tiny_bundle):
    said = elastiq("inspect", tiny_bundle, "--memory", check=0).stdout
    assert said.splitlines()[-1].startswith("all ")


def test_no_bundle_is_told(tmp_path):
    with pytest.raises(ElastiqError, match="is not a bundle"):
        footprint.measure(tmp_path)
