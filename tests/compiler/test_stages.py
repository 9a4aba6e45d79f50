"""Models of several stages, from end to end: built, checked, answered, replayed, by command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import elastiq as device_side
from compiler import source
from compiler.eager import rehearse
from compiler.passes.feed import Feeds
from compiler.passes.trace import trace
from compiler.progress import silent
from elastiq import manifest
from elastiq.errors import ElastiqError
from tests.conftest import FAMILIES, MODELS

CALM = ("--rate", 0.005, "--deadline-ms", 500, "--seconds", 0.5)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def test_it_is_whole_and_answers_as_verified(elastiq, family, family_bundle):
    done = elastiq("check", family_bundle(family), "--json", check=0)
    said = json.loads(done.stdout)
    assert len(said["errors"]) >= 2 and said["unexecuted"] == ""


def test_a_request_is_answered(elastiq, family, family_bundle):
    done = elastiq("run", family_bundle(family), "--json", "--explain", check=0)
    assert np.array(json.loads(done.stdout)["outputs"]["logits"]).shape == (1, 5)
    shown = elastiq("inspect", family_bundle(family), check=0).stdout
    assert family in shown and "onnxruntime" in shown


def test_traffic_is_replayed_and_every_answer_is_one_that_was_verified(
    elastiq, family, family_bundle, tmp_path
):
    page = tmp_path / "report.html"
    results = tmp_path / "results.json"
    done = elastiq("replay", family_bundle(family), *CALM, "--json", "-o", results, check=0)
    for report in json.loads(done.stdout)["reports"].values():
        assert report["requests"] > 0
        assert report["differing"] == report["failed"] == 0
    elastiq("report", family_bundle(family), "--replay", results, "-o", page, check=0)
    assert "<svg" in page.read_text()


def test_every_sample_was_answered(family, family_bundle):
    count = {"packed": 50, "glimpses": 40, "buckets": 60}[family]
    with device_side.open(family_bundle(family)) as bundle:
        assert {engine.quality.samples for engine in bundle.manifest.engines} == {count}
        samples = bundle.samples()
        for outputs in samples.outputs.values():
            assert outputs["logits"].shape == (count, 5)


def test_what_the_model_says_of_itself_travels_with_it(family, family_bundle):
    model = source.load(f"{MODELS / family}.py:{family.capitalize()}")
    found = manifest.read(family_bundle(family))
    assert found.driver == model.driver_name
    assert found.driver_settings == model.driver_settings
    for record, point in zip(found.points, model.points, strict=True):
        assert record.inputs == model.request(point)
        assert record.takes == model.takes(point)
        shares = [route.share for route in record.ways()]
        assert sum(shares) == pytest.approx(1.0)


def test_a_module_at_several_points_is_one_engine(family_bundle):
    found = manifest.read(family_bundle("buckets"))
    used = {stage.engine for point in found.points for stage in point.stages.values()}
    for backend, precision in {(e.backend, e.precision) for e in found.engines}:
        alike = [e for e in found.engines if (e.backend, e.precision) == (backend, precision)]
        assert len(alike) == 4  # and not four for each of three points
    assert used <= {engine.key for engine in found.engines}
    look = {p.stages["look1"].engine for p in manifest.read(family_bundle("glimpses")).points}
    assert len(look) <= 2  # one for each kind of engine that was chosen


def test_costs_are_those_of_the_ways_that_requests_took(family_bundle):
    with device_side.open(family_bundle("buckets")) as bundle:
        small, _, large = bundle.manifest.points
        assert [route.runs for route in small.ways()] == [{"policy": 1, "bucket0": 1}]
        assert len(large.ways()) == 3
        table, stages = bundle.table, large.stages
        expected = sum(
            route.share * sum(table.at(stages[stage].engine, 0.0).mean for stage in route.runs)
            for route in large.ways()
        )
        assert table.of(large, 0.0).mean == pytest.approx(expected)
    with device_side.open(family_bundle("glimpses")) as bundle:
        point = bundle.manifest.points[0]
        assert [route.runs for route in point.ways()] == [{"iterator": 3, "aggregate3": 1}]
        assert point.ways("2")[0].runs == {"iterator": 1, "aggregate2": 1}


@pytest.fixture(scope="module")
def glimpses():
    return source.load(f"{MODELS / 'glimpses.py'}:Glimpses")


def test_later_stages_are_fed_what_earlier_ones_made(glimpses, store):
    feeds = Feeds(glimpses, glimpses.calibration(), 10)
    graphs = {(g.point, g.stage): g for g in trace(glimpses, glimpses.points, store, silent())}
    point, other = glimpses.points
    requests = [
        {name: array[n : n + 1] for name, array in glimpses.calibration()[0].items()}
        for n in range(10)
    ]
    recorded = {name: [fed for fed, _ in calls] for name, calls in
                rehearse(glimpses, point, requests).items()}  # fmt: skip
    for stage in ("iterator", "aggregate2", "aggregate3"):
        found = feeds.of(graphs[point, stage], 10).feeds
        assert 0 < len(found) <= 10
        for feed in found:
            assert any(
                all(np.array_equal(feed[name], fed[name]) for name in feed)
                for fed in recorded[stage]
            )
    # One object at two points is one graph, and fed from both.
    assert graphs[point, "look1"].path == graphs[other, "look1"].path
    assert graphs[point, "aggregate1"].path != graphs[other, "aggregate1"].path
    looks = feeds.of(graphs[point, "look1"], 100)
    assert looks.digest == feeds.of(graphs[other, "look1"], 100).digest


def test_a_stage_that_nothing_reaches_is_named(glimpses, store, monkeypatch):
    (graph, *_) = trace(glimpses, glimpses.points[:1], store, silent())
    feeds = Feeds(glimpses, glimpses.calibration())
    monkeypatch.setattr(type(glimpses.driver), "rehearse", lambda *request: None)
    with pytest.raises(ElastiqError, match="no calibration sample reaches this stage"):
        feeds.of(graph, 10)


def test_a_stage_that_the_driver_needs_is_missed_at_once(elastiq):
    wrong = f"{MODELS / 'broken.py'}:NoPolicy"
    done = elastiq("build", wrong, "-o", "never.elastiq", check=2)
    assert "the cascade driver needs a stage 'policy'" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_are_no_json_are_refused():
    with pytest.raises(ElastiqError, match="driver_settings must be a dict of JSON"):
        source.load(f"{MODELS / 'broken.py'}:NoJson")
