"""Loading a user's model: what they bring, where it finds its own packages, and what is refused."""

from __future__ import annotations

import sys

import pytest

from compiler import source
from elastiq.errors import ElastiqError
from elastiq.records import Point
from tests.conftest import MODELS, TINY

CLASHING = """
import calibration, targets.shapes
from models.weights import SCALE
import torch

class Model:
    name = "clash"
    def points(self):
        import profiles  # found late, in a call
        return [{"queries": profiles.COUNT}]
    def stages(self, point):
        return {"main": (torch.nn.Linear(2, targets.shapes.OUT), {"x": torch.zeros(1, 2)})}
    def calibration(self):
        from calibration import late
        yield {"x": torch.ones(late.ROWS, 2).numpy() * SCALE}
"""


@pytest.fixture
def clashing(tmp_path):
    """A user's folder with packages named like ours."""
    for name, text in {
        "model.py": CLASHING,
        "calibration/__init__.py": "",
        "calibration/late.py": "ROWS = 4",
        "targets/__init__.py": "",
        "targets/shapes.py": "OUT = 3",
        "profiles.py": "COUNT = 7",
        "models/weights.py": "SCALE = 2.0",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_users_packages_named_like_ours_are_theirs_and_ours_stay_ours(clashing):
    import calibration
    import targets

    model = source.load(f"{clashing / 'model.py'}:Model")
    assert model.points == (Point.of({"queries": 7}),)
    assert model.calibration()[0]["x"].shape == (4, 2)
    assert model.stages[model.points[0]]["main"].module.out_features == 3
    assert sys.modules["calibration"] is calibration
    assert sys.modules["targets"] is targets
    assert str(clashing) not in sys.path
    from calibration import data  # ours can still be imported anew

    assert data.prepare


def test_the_digest_follows_the_source_of_the_model_and_of_what_it_imports(clashing):
    def digest():
        for name in [n for n in sys.modules if n.startswith("models")]:
            del sys.modules[name]
        return source.load(f"{clashing / 'model.py'}:Model").digest

    first = digest()
    assert digest() == first
    (clashing / "models" / "weights.py").write_text("SCALE = 4.0  # as they now are")
    assert digest() != first


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_digest_follows_files_of_one_name_in_several_folders(tmp_path, side):
    def digest():
        for name in [n for n in sys.modules if n.startswith(("left", "right"))]:
            del sys.modules[name]
        return source.load(f"{tmp_path / 'm.py'}:Tiny").digest

    (tmp_path / "m.py").write_text(
        (MODELS / "tiny.py").read_text() + "\nimport left.part\nimport right.part\n"
    )
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.py").write_text("SCALE = 2.0")
    first = digest()
    (tmp_path / side / "part.py").write_text("SCALE = 4.0  # as it now is")
    assert digest() != first


def test_a_class_a_factory_and_an_object_are_all_models(tmp_path):
    text = (MODELS / "tiny.py").read_text() + "\ndef make():\n    return Tiny()\n\nready = Tiny()\n"
    (tmp_path / "m.py").write_text(text)
    names = {source.load(f"{tmp_path / 'm.py'}:{part}").name for part in ("Tiny", "make", "ready")}
    assert names == {"tiny"}


def test_no_more_calibration_data_is_asked_for_than_is_wanted():
    assert len(source.load(f"{MODELS / 'broken.py'}:Endless").calibration(20)) == 3


def test_state_digest_sees_one_changed_weight():
    import torch

    module = torch.nn.Linear(3, 3)
    before = source.state_digest(module)
    assert source.state_digest(module) == before
    with torch.no_grad():
        module.weight[1, 1] += 1e-6
    assert source.state_digest(module) != before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoPoints", "points() is empty"),
        ("Crashes", "the disk with the weights is not mounted"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(name, said):
    with pytest.raises(ElastiqError, match=said.replace("(", r"\(").replace(")", r"\)")):
        source.load(f"{MODELS / 'broken.py'}:{name}")


def test_a_module_that_exits_when_imported_is_refused(tmp_path):
    (tmp_path / "m.py").write_text("raise SystemExit(3)")
    with pytest.raises(ElastiqError, match="exits when imported"):
        source.load(f"{tmp_path / 'm.py'}:Model")


def test_an_object_without_the_contract_is_told_the_contract(tmp_path):
    (tmp_path / "m.py").write_text("class Model:\n    name = 'm'\n")
    with pytest.raises(ElastiqError, match=r"offers no 'points'.*points\(\), stages\(point\)"):
        source.load(f"{tmp_path / 'm.py'}:Model")


def test_scores_must_be_finite_and_one_per_sample():
    model = source.load(TINY)
    model._thing.evaluate = lambda predict: [1.0, float("nan")]
    with pytest.raises(ElastiqError, match="one finite score per sample"):
        model.evaluate(lambda x: x)
