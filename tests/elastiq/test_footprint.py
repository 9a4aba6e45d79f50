"""What engines take of memory, in fresh processes."""

from __future__ import annotations

import json

import pytest

import elastiq as product
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


@pytest.mark.parametrize("backend, most", [("onnxruntime", 10e6), ("openvino", 30e6)])
def test_an_engine_is_weighed_without_its_runtime(motley_bundle, backend, most):
    with product.open(motley_bundle) as bundle:
        key = f"queries=8/main/{backend}/fp32"
        (record,) = (engine for engine in bundle.manifest.engines if engine.key == key)
        inputs = bundle.point("queries=8").stages["main"].inputs
    folders = str(motley_bundle / record.folder), str(motley_bundle / "weights")
    found = footprint.alone(footprint.Place(record.runner, *folders, inputs, threads=1))
    assert 0 < found.load_time < 60
    assert found.memory < most  # runtimes are several times that


def test_an_engine_that_cannot_be_loaded_is_told(tmp_path):
    place = footprint.Place("onnxruntime", str(tmp_path), str(tmp_path), (), 1)
    with pytest.raises(ElastiqError, match="cannot be measured"):
        footprint.alone(place)
