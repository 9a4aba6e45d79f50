"""The accuracy budget: layers are given back only where they must be, and what was done is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from calibration.layers import quantized
from compiler import source
from compiler.passes.budget import Spending, keep_to_budget
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import verify
from compiler.progress import Progress, silent
from profiles.choice import over
from targets import graphs
from tests.conftest import TINY

MODEL = TINY.replace("Tiny", "Outliers")
QUICK = ("--backend", "onnxruntime", "--loads", 0, "--memory-loads", 0, "--profile-seconds", 0.1)
SPENDING = Spending(drop=3.0, seconds=600.0, threads=1)


@pytest.fixture(scope="module")
def model():
    return source.load(MODEL)


@pytest.fixture(scope="module")
def verified(model, store):
    fp32 = trace(model, model.points, store, silent())
    int8 = quantize(fp32, Feeds(model, model.calibration()), Method(), store, silent())
    engines = compile((*fp32, *int8), ("onnxruntime",), store, silent()).engines
    return verify(model, engines, 1, store, silent()).verified


def keep(model, verified, spending, store, progress=None):
    feeds = Feeds(model, model.calibration())
    return keep_to_budget(model, verified, feeds, spending, store, progress or silent())


@pytest.fixture(scope="module")
def kept(model, verified, store):
    return keep(model, verified, SPENDING, store)


def layers(found):
    return set(quantized(graphs.load(found.variant.engines["main"].graph)))


def changed(verified, kept):
    return [(a, b) for a, b in zip(verified, kept, strict=True) if a is not b]


def test_points_over_the_budget_come_back_inside_it(verified, kept):
    pairs = changed(verified, kept)
    assert pairs
    for before, after in pairs:
        assert before.variant.precision == after.variant.precision == "int8"
        assert over(before.quality, SPENDING.drop)
        assert not over(after.quality, SPENDING.drop)


def test_what_was_inside_is_left_alone_at_no_cost(model, verified, store):
    generous = replace(SPENDING, drop=100.0)
    progress = Progress(0, silent=True)
    assert keep(model, verified, generous, store, progress) == verified
    assert progress.tasks == []


def test_some_layers_are_given_back_and_some_are_not(verified, kept):
    for before, after in changed(verified, kept):
        assert set() < layers(after) < layers(before)
        given_back = re.match(r"(\d+) of (\d+) layers given back", after.note)
        assert given_back, after.note
        back, of = map(int, given_back.groups())
        assert of == len(layers(before))
        assert back == of - len(layers(after))
        assert re.search(r"costs -?\d+\.\d\d ms", after.note)


def test_a_second_search_makes_nothing_again(model, verified, kept, store, monkeypatch):
    made = []
    produce = type(store).produce

    def watched(self, kind, *how):
        entry, found = produce(self, kind, *how)
        made.extend([] if found else [kind])
        return entry, found

    monkeypatch.setattr(type(store), "produce", watched)
    assert keep(model, verified, SPENDING, store) == kept
    assert made == []


def test_where_nothing_holds_the_old_engine_stays_and_says_what_was_tried(model, verified, store):
    impossible = replace(SPENDING, drop=-50.0)
    for before, after in zip(verified, keep(model, verified, impossible, store), strict=True):
        assert after.variant is before.variant
        if before.variant.precision == "int8":
            assert re.match(r"tried giving back 1, 2.* of \d+ layers$", after.note)


def test_the_search_ends_when_its_time_is_up(model, verified, store):
    for after in keep(model, verified, replace(SPENDING, seconds=0.0), store):
        if over(after.quality, SPENDING.drop):
            assert "then the 0 s were over" in after.note


def test_a_build_tells_what_it_gave_back(elastiq, tmp_path):
    out = tmp_path / "b.elastiq"
    elastiq("build", MODEL, "--precision", "int8", "--accuracy-drop", 3, *QUICK,
            "--calibration-samples", 16, "-o", out, check=0)  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    reasons = [stage["why"] for point in manifest["points"] for stage in point["stages"].values()]
    assert any("layers given back" in why for why in reasons)
    elastiq("check", out, check=0)


def test_the_sensitivity_of_layers_is_in_the_bundle_and_on_its_page(elastiq, tmp_path):
    out, page = tmp_path / "b.elastiq", tmp_path / "report.html"
    elastiq("build", TINY, "--sensitivity", "--accuracy-drop", 100, *QUICK,
            "--calibration-samples", 16, "-o", out, check=0)  # fmt: skip
    found = json.loads((out / "sensitivity.json").read_text())
    assert [part["point"] for part in found] == ["queries=2", "queries=8"]
    elastiq("report", out, "-o", page, check=0)
    for text in (page.read_text(), (out / "report.html").read_text()):
        for part in found:
            noise = [layer["sqnr"] for layer in part["layers"]]
            assert noise == sorted(noise)
            for layer in part["layers"]:
                assert f"{layer['sqnr']:.1f} / {layer['loss']:.2f}" in text
                assert f"{layer['layer']} at {part['point']}" in text
