"""Screening: what cannot win is set aside, and what might be needed is not."""

from __future__ import annotations

from compiler import source
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.screen import screen
from compiler.passes.trace import trace
from compiler.progress import silent
from elastiq.errors import EngineError
from tests.conftest import TINY


def built(store, *backends):
    model = source.load(TINY)
    fp32 = trace(model, model.points, store, silent())
    int8 = quantize(fp32, Feeds(model, model.calibration()), Method(), store, silent())
    return compile((*fp32, *int8), backends, store, silent()).engines


def kept(engines):
    return {(engine.backend, engine.graph.precision) for engine in engines}


def test_what_is_far_slower_is_set_aside_and_named(store):
    engines = built(store, "onnxruntime", "openvino", "fake")
    contenders, words = screen(engines, 1, store, silent())
    assert ("fake", "fp32") not in kept(contenders)
    assert ("fake", "int8") not in kept(contenders)
    assert {point for point, _ in (w.split(maxsplit=1) for w in words if " fake " in w)} == {
        engine.graph.point.name for engine in engines
    }


def test_a_second_opinion_at_full_precision_stays(store):
    contenders, words = screen(built(store, "onnxruntime", "fake"), 1, store, silent())
    assert ("fake", "fp32") in kept(contenders)
    assert ("fake", "int8") not in kept(contenders)
    assert all(" int8 " in line for line in words)


def test_what_does_not_run_is_left_to_verifying(store, monkeypatch):
    engines = built(store, "onnxruntime")
    broken = engines[0].folder
    load = type(engines[0]).load

    def refuse(self, threads):
        if self.folder == broken:
            raise EngineError("it does not load")
        return load(self, threads)

    monkeypatch.setattr(type(engines[0]), "load", refuse)
    contenders, _ = screen(engines, 1, store, silent())
    assert engines[0] in contenders


def test_what_was_seen_is_kept(store):
    engines = built(store, "onnxruntime", "fake")
    progress = silent()
    screen(engines, 1, store, progress)
    screen(engines, 1, store, progress)
    assert progress.tasks[-1].cached
