"""Points that answer several requests in a run: which there are, who gets them, and who may not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import elastiq as device_side
from compiler import source
from compiler.batches import Batched
from compiler.config import Config
from compiler.passes.verify import ANSWERS, _reference, load_answers
from compiler.store import Store
from elastiq.errors import ElastiqError
from tests.conftest import MODELS, TINY


class Fixed(torch.nn.Module):
    """Takes one sample, and no other number."""

    def forward(self, x):
        return x.reshape(1, 6)


class Centred(torch.nn.Module):
    """Every row depends on all."""

    def forward(self, x):
        return x - x.mean(0)


class One:
    """The model contract over a module."""

    name = "one"

    def __init__(self, module):
        self.module = module

    def points(self):
        return [{"queries": 1}]

    def stages(self, point):
        return {"main": (self.module, {"x": torch.zeros(1, 2, 3)})}


@pytest.fixture(scope="module")
def model():
    return source.load(TINY, batches=(1, 4))


def test_each_point_is_there_once_for_each_size_the_cheapest_for_a_request_first(model):
    names = [point.name for point in model.points]
    assert names == ["queries=2,batch=4", "queries=2", "queries=8,batch=4", "queries=8"]
    assert [model.takes(point) for point in model.points] == [4, 1, 4, 1]
    assert {model.request(point)[0].shape for point in model.points} == {(1, 1, 16, 16)}
    assert model.stages[model.points[0]]["main"].inputs["image"].shape == (4, 1, 16, 16)
    assert model.can_evaluate and model.driver_name == "batched"
    assert not model.driver.MIXES


def test_torch_is_asked_once_for_all_sizes_of_a_point(model, tmp_path):
    store = Store(tmp_path)
    found = {point.name: _reference(model, point, None, store) for point in model.points}
    assert found["queries=2,batch=4"] == found["queries=2"] != found["queries=8"]
    _, answers, scores = load_answers(found["queries=8"] / ANSWERS)
    assert len(answers["logits"]) == len(scores) > 1


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Fixed(), "queries=1,batch=3: the module takes no batch of 3: .*shape"),
        (Centred(), "what a request is answered for 'output' depends on those beside it"),
    ],
)
def test_a_module_that_does_not_answer_each_as_alone_is_refused(module, words):
    batched = Batched("one.py:one", One(module), (1, 3))
    with pytest.raises(ElastiqError, match=words):
        batched.stages({"queries": 1, "batch": 3})
    assert batched.stages({"queries": 1})["main"][0] is module


def test_a_model_that_says_itself_how_many_a_run_takes_is_refused():
    with pytest.raises(ElastiqError, match="its driver is 'mux', which says itself how many"):
        source.load(f"{MODELS / 'packed.py'}:Packed", batches=(1, 2))


@pytest.mark.parametrize("sizes", [(), (0, 4), (-1,)])
def test_sizes_are_whole_numbers_from_one_up(sizes):
    with pytest.raises(ElastiqError, match="batches must be whole numbers from 1 up"):
        Config(batches=sizes)


def test_onnx_files_have_the_batch_they_have():
    with pytest.raises(ElastiqError, match="have the batch they were exported with"):
        Config(onnx=("queries=1:a.onnx",), batches=(1, 4))


@pytest.fixture(scope="module")
def bundle(elastiq, tmp_path_factory):
    out = tmp_path_factory.mktemp("batches") / "tiny.elastiq"
    elastiq("build", TINY, "--batch", "1,3", "--backend", "onnxruntime", "--loads", "0",
            "--memory-loads", 0, "--precision", "fp32", "--accuracy-drop", 5, "--keep", "all",
            "--profile-seconds", 0.2, "-o", out, check=0)  # fmt: skip
    return out


def test_it_is_whole_and_one_request_is_answered_at_any_of_its_points(elastiq, bundle):
    said = json.loads(elastiq("check", bundle, "--json", check=0).stdout)
    assert len(said["errors"]) == 4 and said["unexecuted"] == ""
    for point in ("queries=2", "queries=2,batch=3"):
        done = elastiq("run", bundle, "--point", point, "--json", check=0)
        assert np.array(json.loads(done.stdout)["outputs"]["logits"]).shape == (1, 5)


def test_each_has_the_answer_in_company_that_it_has_alone(bundle):
    with device_side.open(bundle) as opened:
        takes = {point.name: point.takes for point in opened.manifest.points}
        assert takes["queries=8"] == 1 and takes["queries=8,batch=3"] == 3
        samples = opened.samples()
        requests = [samples.input(place) for place in range(3)]
        together = opened.together("queries=8,batch=3", requests)
        for request, answer in zip(requests, together, strict=True):
            alone = opened.together("queries=8,batch=3", [request])[0]["logits"]
            np.testing.assert_allclose(answer["logits"], alone, rtol=0, atol=1e-6)


def test_those_who_wait_share_a_run(bundle):
    with (
        device_side.open(bundle) as opened,
        opened.serve("fixed", point="queries=8,batch=3") as worker,
    ):
        samples = opened.samples()
        waiting = [worker.submit(samples.input(place)) for place in range(30)]
        answers = [future.result(30) for future in waiting]
        for place, answer in enumerate(answers):
            alone = opened.execute("queries=8", samples.input(place))["logits"]
            np.testing.assert_allclose(answer.outputs["logits"], alone, atol=1e-4)
    assert len({answer.took for answer in answers}) < 30  # requests of one run took as long
