"""Screening: what cannot win is set aside, and what might be needed is not."""

from __future__ import annotations

import re

from compiler import source
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.screen import screen
from compiler.passes.trace import trace
from compiler.passes.verify import verify
from compiler.progress import silent
from compiler.store import Store
from elastiq.errors import EngineError
from tests.conftest import TINY


def built(store, *backends):
    model = source.load(TINY)
    fp32 = trace(model, model.points, store, silent())
    int8 = quantize(fp32, Feeds(model, model.calibration()), Method(), store, silent())
    return compile((*fp32, *int8), backends, store, silent()).engines


def kept(engines):
    return {(engine.backend, engine.graph.precision) for engine in engines}


class Off:
    """An engine that answers wrongly."""

    def __init__(self, engine):
        self.engine = engine

    def __call__(self, inputs):
        return {name: answer + 1.0 for name, answer in self.engine(inputs).items()}

    def close(self):
        self.engine.close()


def test_of_full_precision_the_fastest_goes_on_and_the_next_is_in_reserve(store):
    engines = built(store, "onnxruntime", "openvino", "fake")
    found = screen(engines, 1, store, silent())
    for point in {engine.graph.point for engine in engines}:
        exact = [e for e in found.engines if e.graph.point == point and e.graph.precision == "fp32"]
        assert len(exact) == 1 and exact[0].backend != "fake"
        behind = [e.backend for e in found.reserve if e.graph.point == point]
        assert behind == [{"onnxruntime", "openvino"}.difference({exact[0].backend}).pop(), "fake"]
    assert {e.graph.precision for e in found.reserve} == {"fp32"}


def test_what_is_slower_at_another_precision_is_set_aside_and_named(store):
    engines = built(store, "onnxruntime", "fake")
    found = screen(engines, 1, store, silent())
    assert ("fake", "int8") not in kept((*found.engines, *found.reserve))
    words = [line for line in found.aside if " int8 fake " in line]
    assert len(words) == 2
    assert all(
        re.search(r"set aside: \d+\.\d\dx the time of queries=\d fp32 onnxruntime", w)
        for w in words
    )


def test_where_the_fastest_answers_wrongly_the_next_is_verified_and_no_other(
    store, tmp_path, monkeypatch
):
    engines = built(store, "onnxruntime", "openvino", "fake")
    fp32 = tuple(e for e in engines if e.graph.precision == "fp32")
    first = tuple(e for e in fp32 if e.backend == "onnxruntime")
    reserve = tuple(e for name in ("openvino", "fake") for e in fp32 if e.backend == name)
    model = source.load(TINY)

    def backends(kept_in):
        found = verify(model, first, 1, kept_in, silent(), reserve=reserve)
        return {v.variant.backend for v in found.verified}

    assert backends(store) == {"onnxruntime"}
    wrong = type(fp32[0]).load

    def off(self, threads):
        engine = wrong(self, threads)
        if self.backend != "onnxruntime":
            return engine
        return Off(engine)

    monkeypatch.setattr(type(fp32[0]), "load", off)
    anew = Store(tmp_path)
    assert backends(anew) == {"onnxruntime", "openvino"}


def test_what_does_not_run_is_left_to_verifying(store, monkeypatch):
    engines = built(store, "onnxruntime")
    broken = engines[0].folder
    load = type(engines[0]).load

    def refuse(self, threads):
        if self.folder == broken:
            raise EngineError("it does not load")
        return load(self, threads)

    monkeypatch.setattr(type(engines[0]), "load", refuse)
    assert engines[0] in screen(engines, 1, store, silent()).engines


def test_what_was_seen_is_kept(store):
    engines = built(store, "onnxruntime", "fake")
    progress = silent()
    screen(engines, 1, store, progress)
    screen(engines, 1, store, progress)
    assert progress.tasks[-1].cached
