"""One suite over every backend and precision, on tiny models of every kind of layer."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from calibration.data import CalibrationData
from calibration.recipes import RECIPES
from compiler.passes import trace
from compiler.source import Stage
from elastiq import cuda, digest, plugins
from elastiq.errors import ElastiqError, EngineError
from elastiq.footprint import example
from elastiq.protocols import RunnerOptions
from elastiq.records import Graph, Point, TensorSpec
from elastiq.tensorrt import Help
from targets import graphs
from targets.backends import backend, names
from tests.conftest import PLUGINS, ROOT
from zoo import perceiver

# In CI a missing toolchain is a failure, not a skip.
IN_CI = {"onnxruntime", "openvino", "tvm", "tensorrt_rtx", "fake"}
REQUIRED = IN_CI if os.environ.get("CI") else set()
ON_GPU = {"tensorrt", "tensorrt_rtx"}  # elsewhere its engines are built, and not executed
LATER = {"tensorrt"} if not cuda.available() else set()  # the device refuses what it cannot do
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.1}  # of the largest output
BACKENDS = [(name, p) for name in names() for p in sorted(backend(name).precisions)]


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width=32):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x):
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


class Cross(nn.Module):
    """Latent queries that look at tokens."""

    def __init__(self, width=32):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 4, width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        return self.attention(self.queries, x, x, need_weights=False)[0]


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)), (1, 32)),
    "stem": (lambda: nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.ReLU()), (1, 1, 16, 16)),
    "cross": (Cross, (1, 9, 32)),
    "block": (Block, (1, 9, 32)),
    "perceiver": (lambda: perceiver.model().stages({"queries": 4})["main"][0], (1, 1, 64, 64)),
}


class Named(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        answer = self.module(x)
        return answer["logits"] if isinstance(answer, dict) else answer


@pytest.fixture(scope="module")
def known():
    """The models that were made: pytest goes back and forth between them."""
    return {}


@pytest.fixture(scope="module", params=MODELS)
def model(request, known, tmp_path_factory):
    """A tiny model's FP32 and INT8 graphs, and what torch answers on its calibration data."""
    name = request.param
    if name not in known:
        known[name] = graphs_of(name, tmp_path_factory.mktemp(name))
    return known[name]


def graphs_of(name, folder):
    make, shape = MODELS[name]
    torch.manual_seed(0)
    module = Named(make()).eval()
    (folder / "weights").mkdir()
    stage = Stage(module, {"x": torch.zeros(shape)})
    trace._export(stage, name, folder / "weights", folder)
    specs = (trace._specs({"x": np.zeros(shape, np.float32)}),)
    generator = np.random.default_rng(0)
    feeds = tuple({"x": generator.standard_normal(shape).astype(np.float32)} for _ in range(16))
    with torch.no_grad():
        truth = [module(torch.from_numpy(feed["x"])).numpy() for feed in feeds]
    outputs = trace._specs({"output": truth[0]})
    fp32 = Graph(
        Point.of({"queries": 1}),
        "main",
        "fp32",
        folder / "graph.onnx",
        folder / "weights",
        *specs,
        outputs,
    )
    int8 = replace(fp32, precision="int8", path=folder / "int8.onnx")
    quantized = RECIPES["portable"].quantize(graphs.load(fp32), CalibrationData(feeds))
    graphs.save(quantized, int8.path, int8.weights)
    return {"fp32": fp32, "fp16": replace(fp32, precision="fp16"), "int8": int8}, feeds, truth


def installed(name):
    """A backend whose toolchain is here; else the test is skipped, or fails where it may not."""
    chosen = backend(name)
    try:
        chosen.toolchain()
    except ElastiqError as e:
        assert name not in REQUIRED, e
        pytest.skip(str(e))
    return chosen


@pytest.fixture(scope="module", params=BACKENDS, ids="-".join)
def made(request, model, tmp_path_factory):
    """An engine of the model by one backend at one precision. Not to be written to."""
    name, precision = request.param
    chosen = installed(name)
    graph = model[0][precision]
    folder = tmp_path_factory.mktemp("engine")
    chosen.build(graph, folder, chosen.Settings())
    return chosen, graph, folder


def load(chosen, graph, folder):
    if chosen.name in ON_GPU and not cuda.available():
        pytest.skip("built, and not executed: no NVIDIA GPU")
    runner = plugins.load("elastiq.runners", chosen.runner, "runner")
    return runner.load(folder, RunnerOptions(graph.weights))


def test_it_answers_as_torch_does(made, model):
    engine = load(*made)
    for feed, truth in zip(model[1], model[2], strict=True):
        answer = engine(feed)["output"]
        assert answer.shape == truth.shape
        assert np.abs(answer - truth).max() <= TOLERANCE[made[1].precision] * np.abs(truth).max()
    engine.close()


def test_it_is_byte_identical_when_rebuilt(made, tmp_path_factory):
    chosen, graph, folder = made
    again = tmp_path_factory.mktemp("again")
    chosen.build(graph, again, chosen.Settings())
    first, second = (
        {path.relative_to(f): digest.of_file(path) for path in f.rglob("*") if path.is_file()}
        for f in (folder, again)
    )
    assert first == second
    assert first


def test_it_keeps_no_large_tensor_of_its_own(made):
    _, graph, folder = made
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for weight in graph.weights.iterdir():
        assert not any(weight.read_bytes() in content for content in files)


def test_it_loads_in_a_fresh_process(made, model, tmp_path):
    chosen, graph, folder = made
    here = load(*made)(model[1][0])["output"]
    code = (
        f"import sys; sys.path.append({str(PLUGINS)!r})\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from elastiq import plugins\n"
        f"runner = plugins.load('elastiq.runners', {chosen.runner!r}, 'runner')\n"
        "from elastiq.protocols import RunnerOptions\n"
        f"options = RunnerOptions(Path({str(graph.weights)!r}))\n"
        f"engine = runner.load(Path({str(folder)!r}), options)\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, engine({{'x': x}})['output'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    np.save(tmp_path / "x.npy", model[1][0]["x"])
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), here, rtol=1e-5, atol=1e-5)


def test_its_answers_may_be_kept(made, model):
    engine = load(*made)
    feeds = [{"x": feed["x"].copy()} for feed in model[1][:2]]
    kept = engine(feeds[0])["output"]
    before = kept.copy()
    feeds[0]["x"][...] = 0
    engine(feeds[1])
    np.testing.assert_array_equal(kept, before)


def test_it_survives_being_run_by_several_threads_at_once(made, model):
    engine = load(*made)
    feeds = model[1][:6]
    alone = [engine(feed)["output"] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda feed: engine(feed)["output"], feeds * 4))
    for index, answer in enumerate(together):
        np.testing.assert_allclose(answer, alone[index % len(alone)], rtol=1e-5, atol=1e-5)


def test_it_runs_here_or_says_why_not(made):
    chosen, graph, folder = made
    runner = plugins.load("elastiq.runners", chosen.runner, "runner")
    if chosen.name in ON_GPU and not cuda.available():
        with pytest.raises(ElastiqError, match=r"no NVIDIA driver|tensorrt is not installed"):
            runner.load(folder, RunnerOptions(graph.weights))
    else:
        runner.load(folder, RunnerOptions(graph.weights)).close()


@pytest.mark.parametrize("name", sorted({*names()} - LATER))
def test_what_it_cannot_do_is_refused_by_node_and_point(name, tmp_path):
    chosen, graph = installed(name), wobbling(tmp_path)
    with pytest.raises(ElastiqError) as refused:
        chosen.build(graph, tmp_path / "out", chosen.Settings())
    for part in ("queries=3", "'main'", "fp32", "'wobble_7' (Wobble)"):
        assert part in str(refused.value)
    assert "before" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_only_the_device_can_refuse_names_the_node(name, tmp_path):
    """`elastiq finalize` says at which point; NVIDIA's parser is that of TensorRT for RTX here."""
    chosen, graph, out = backend(name), wobbling(tmp_path), tmp_path / "out"
    parser = installed("tensorrt_rtx")
    chosen.build(graph, out, chosen.Settings())
    runner = plugins.load("elastiq.runners", parser.runner, "runner")
    with pytest.raises(EngineError, match=r"wobble_7 \(Wobble\)"):
        runner.finish(out, graph.weights, Help(), "SM89")


def wobbling(folder):
    """A graph with a node that nobody knows, and an empty folder for its engine."""
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["h"], name="before"),
        onnx.helper.make_node("Wobble", ["h"], ["y"], name="wobble_7", domain="com.nowhere"),
    ]
    ends = [[value(name, onnx.TensorProto.FLOAT, [1, 4])] for name in "xy"]
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("com.nowhere", 1)]
    made = onnx.helper.make_graph(nodes, "main", *ends)
    model = onnx.helper.make_model(made, opset_imports=opsets, ir_version=10)
    graphs.save(model, folder / "graph.onnx", folder)
    specs = [(TensorSpec(name, "float32", (1, 4)),) for name in "xy"]
    (folder / "out").mkdir()
    return Graph(Point.of({"queries": 3}), "main", "fp32", folder / "graph.onnx", folder, *specs)


def test_the_example_inputs_of_a_profile_fit(made):
    load(*made)(example(made[1].inputs))
