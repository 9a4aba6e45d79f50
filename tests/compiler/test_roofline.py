"""Rooflines: points keep their order, more is never less, and the real machine takes longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.passes.compile import BuiltEngine, Terms
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize, read_batches
from compiler.passes.roofline import at_least, roofline
from compiler.passes.trace import trace
from compiler.progress import silent
from targets.devices import target, targets

PEAK = target("jetson-orin").peak


def built(graph, backend="tensorrt"):
    return BuiltEngine(graph, backend, backend, graph.path.parent, (), Terms())


@pytest.fixture(scope="module")
def graphs(tiny, store):
    return trace(tiny, tiny.points, store, silent())


@pytest.fixture(scope="module")
def int8(tiny, graphs, store):
    feeds = Feeds(tiny, read_batches(tiny, "", 32), 32)
    return quantize(graphs, feeds, Method("portable", "percentile", True, 32), store, silent())


def test_larger_points_take_longer(graphs):
    small, large = (at_least(built(graph), PEAK, 1) for graph in graphs)
    assert 0 < small < large


def test_narrower_is_never_slower(graphs, int8):
    for wide, narrow in zip(graphs, int8, strict=True):
        engines = [built(wide), built(replace(wide, precision="fp16")), built(narrow)]
        seconds = [at_least(engine, PEAK, 1) for engine in engines]
        assert seconds == sorted(seconds, reverse=True)
        assert seconds[2] < seconds[0]


def test_a_faster_device_is_never_slower(graphs):
    (graph, _) = graphs
    before = at_least(built(graph), PEAK, 1)
    faster = [
        replace(PEAK, bandwidth=2 * PEAK.bandwidth),
        replace(PEAK, rates={name: 2 * rate for name, rate in PEAK.rates.items()}),
        replace(PEAK, launch=PEAK.launch / 2),
    ]
    assert all(at_least(built(graph), peak, 1) <= before for peak in faster)
    assert at_least(built(graph), faster[2], 1) < before


def test_int8_saves_no_time_where_products_are_floating(int8):
    slow = replace(PEAK, rates={"fp32": 1e9, "int8": 1e12}, launch=0.0)
    (graph, _) = int8
    assert at_least(built(graph, "tvm"), slow, 1) > 2 * at_least(built(graph), slow, 1)


def test_threads_multiply_the_rates_of_a_core(graphs):
    slow = replace(PEAK, rates={"fp32": 1e6}, launch=0.0)
    (graph, _) = graphs
    assert at_least(built(graph), slow, 2) == pytest.approx(at_least(built(graph), slow, 1) / 2)


def test_the_table_says_what_it_is(graphs):
    table = roofline([built(graph) for graph in graphs], target("desktop-rtx"), 1)
    assert not table.measured
    assert table.device == "predicted-desktop-rtx"
    assert table.circumstances["data sheet of"] == "GeForce RTX 3070"
    assert {row.latency.samples for row in table.rows} == {0}
    assert not table.footprints
    assert roofline([], target("nvidia-gpu"), 1) is None


def test_peaks_have_a_rate_for_each_precision():
    for name, device in targets().items():
        if device.peak:
            assert set(device.peak.rates) == set(device.precisions), name
            in_order = [device.peak.rates[precision] for precision in device.precisions]
            assert in_order == sorted(in_order), name


def test_this_machine_takes_longer_and_agrees_on_the_order(tiny_bundle, graphs):
    """The measured table of a real bundle against the roofline of its own kind of device."""
    import elastiq

    peak = target("cpu-x86").peak
    with elastiq.open(tiny_bundle) as bundle:
        for graph in graphs:
            key = f"{graph.point.name}/main/onnxruntime/fp32"
            assert bundle.table.at(key, 0.0).p50 > at_least(built(graph, "onnxruntime"), peak, 1)
