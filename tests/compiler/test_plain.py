"""Plain torch modules and ready ONNX files, built as any model is."""

import json

import numpy as np
import onnx
import pytest
import torch

import elastiq as device_side
from compiler import onnx_files, source
from elastiq.errors import ElastiqError
from tests.conftest import MODELS
from tests.models.plain import Queried
from tests.models.tiny import AtPoint

NET = f"{MODELS / 'plain.py'}:net"
POINTS = ("queries=8,2",)
QUICK = ("--backend", "onnxruntime", "--loads", "0", "--memory-loads", "0",
         "--profile-seconds", "0.1", "--accuracy-drop", "50")  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    generator = np.random.default_rng(0)
    np.save(path, generator.standard_normal((48, 1, 16, 16)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The module at each point, exported by its user; the weights of one lie beside it."""
    folder = tmp_path_factory.mktemp("onnx")
    net = Queried().eval()
    found = {}
    for queries in (2, 8):
        path = folder / f"plain_q{queries}.onnx"
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.onnx.export(
            AtPoint(net.model, queries).eval(),
            (),
            kwargs={"image": torch.zeros(2, 1, 16, 16)},
            dynamic_shapes={"image": {0: batch}},
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            verbose=False,
        )
        exported.save(path, external_data=queries == 8)
        found[queries] = path
    return found


def flags(files):
    return [word for q, path in files.items() for word in ("--onnx", f"queries={q}:{path}")]


def check_answers(path, images, output):
    net, image = Queried().eval(), np.load(images)[:4]
    with device_side.open(path) as bundle:
        assert [point.name for point in bundle.manifest.points] == ["queries=2", "queries=8"]
        for queries in (2, 8):
            with torch.no_grad():
                expected = net(torch.from_numpy(image[:1]), queries).numpy()
            answer = bundle.execute(f"queries={queries}", {"image": image[:1]})[output]
            assert np.abs(answer - expected).max() < 0.05 * np.abs(expected).max()


def test_a_plain_module_becomes_a_bundle(elastiq, images, tmp_path):
    built = tmp_path / "plain.elastiq"
    given = ("--points", *POINTS, "--calibration", images)
    done = elastiq("build", NET, *given, *QUICK, "--json", "-o", built, check=0)
    assert json.loads(done.stdout)
    check_answers(built, images, "output")


def test_onnx_files_become_a_bundle(elastiq, files, images, tmp_path):
    built = tmp_path / "onnx.elastiq"
    given = (*flags(files), "--calibration", images, *QUICK)
    elastiq("build", *given, "-o", built, check=0)
    check_answers(built, images, "logits")
    again = elastiq("build", *given, "-o", built, check=0)
    assert "wrote" in again.stdout


def test_points_of_a_plain_module_are_those_asked_for_cheapest_first(images):
    model = source.load(NET, POINTS, str(images))
    assert [point.name for point in model.points] == ["queries=2", "queries=8"]
    small, large = (model.stages[point]["main"].module for point in model.points)
    pairs = zip(small.parameters(), large.parameters(), strict=True)
    assert all(one is other for one, other in pairs)  # stored once


def test_other_data_or_weights_are_another_model(images, files, tmp_path):
    other = tmp_path / "other.npy"
    np.save(other, np.load(images)[:-1])
    model = source.load(NET, POINTS, str(images))
    assert model.digest == source.load(NET, POINTS, str(images)).digest
    assert model.digest != source.load(NET, POINTS, str(other)).digest
    known = source.state_digest(onnx_files.OnnxModule(files[8]))
    weights = next(files[8].parent.glob("*.data"))
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + bytes(4))
    try:
        assert source.state_digest(onnx_files.OnnxModule(files[8])) != known
    finally:
        weights.write_bytes(kept)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((), "say at which values of its argument"),
        (("querys=2",), "Did you mean 'queries'"),
        (("queries=two",), "is not a point"),
    ],
)
def test_points_that_a_plain_module_does_not_have_are_told(images, points, message):
    with pytest.raises(ElastiqError, match=message):
        source.load(NET, points, str(images))


def test_a_plain_module_needs_data(tmp_path):
    with pytest.raises(ElastiqError, match="brings no data of its own"):
        source.load(NET, POINTS, "")


def test_files_that_are_no_models_are_told(files, images, tmp_path):
    broken, data = tmp_path / "broken.onnx", str(images)
    broken.write_bytes(files[2].read_bytes()[:200])
    for text, message in (
        ("queries=2", "names no file"),
        (f"two:{files[2]}", "is not a point"),
        ("queries=2:missing.onnx", "there is no file"),
        (f"queries=2:{broken}", "is no ONNX model, or is damaged"),
    ):
        with pytest.raises(ElastiqError, match=message):
            source.load_onnx((text,), data)
    with pytest.raises(ElastiqError, match="twice"):
        source.load_onnx((f"queries=2:{files[2]}", f"queries=2:{files[8]}"), data)
    with pytest.raises(ElastiqError, match="bring no data"):
        source.load_onnx((f"queries=2:{files[2]}",), "")


def test_sizes_that_are_open_are_told(files, images, tmp_path):
    model = onnx.load(files[2])
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    path = tmp_path / "open.onnx"
    onnx.save(model, path)
    with pytest.raises(ElastiqError, match="'image' has no fixed size along axis 2"):
        source.load_onnx((f"queries=2:{path}",), str(images))


def test_a_model_and_files_are_not_both_given(elastiq, files):
    done = elastiq("build", NET, *flags(files), check=2)
    assert "not both" in done.stderr
