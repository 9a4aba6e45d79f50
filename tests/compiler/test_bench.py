"""What is measured of engines beside their latency."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import elastiq as product
from compiler.bench import weights
from elastiq.errors import ElastiqError
from elastiq.footprint import Place


def runnable(runner, folder, weights, inputs=()):
    place = Place(runner, str(folder), str(weights), inputs, threads=1)
    return SimpleNamespace(place=lambda threads: place)


def test_engines_are_weighed_without_their_runtimes(motley_bundle):
    with product.open(motley_bundle) as bundle:
        inputs = bundle.point("queries=8").stages["main"].inputs
        engines = [
            runnable(
                engine.runner, motley_bundle / engine.folder, motley_bundle / "weights", inputs
            )
            for engine in bundle.manifest.engines
            if engine.key.startswith("queries=8/")
        ]
    found = weights(engines, threads=1)
    assert len(found) == len(engines) >= 4
    for footprint in found:
        assert 0 < footprint["load_time"] < 60
        assert footprint["memory"] < 10e6  # runtimes are several times that


def test_an_engine_that_cannot_be_loaded_is_told(tmp_path):
    with pytest.raises(ElastiqError, match="cannot be measured"):
        weights([runnable("onnxruntime", tmp_path, tmp_path)], threads=1)
