"""`elastiq run`, in a process of its own, on a bundle that was really built."""

import json

import numpy as np
import pytest


def test_it_answers_a_sample_of_the_bundle(elastiq, tiny_bundle):
    done = elastiq("run", tiny_bundle, check=0)
    assert "tiny at queries=" in done.stdout and "logits" in done.stdout


def test_it_explains_its_choice(elastiq, tiny_bundle):
    done = elastiq("run", tiny_bundle, "--deadline", 1000, "--explain", check=0)
    for word in ("load", "correction", "queue", "> queries=", "why"):
        assert word in done.stdout


def test_a_point_can_be_given_and_machines_can_read(elastiq, tiny_bundle):
    done = elastiq("run", tiny_bundle, "--point", "queries=2", "--json", "--explain", check=0)
    said = json.loads(done.stdout)
    assert said["point"] == said["choice"]["point"] == "queries=2"
    assert np.array(said["outputs"]["logits"]).shape == (1, 5)
    assert said["took"] > 0


def test_an_input_is_read_from_a_file(elastiq, tiny_bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 16, 16), np.float32))
    elastiq("run", tiny_bundle, "--input", f"image={tmp_path / 'x.npy'}", check=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--point", "queries=3"], "no point is called 'queries=3'"),
        (["--input", "image"], "name=file.npy"),
        (["--input", "image=nowhere.npy"], "nowhere.npy cannot be read"),
        (["--deadline", "0"], "the deadline passed"),
        (["--policy", "fixed"], "needs the option 'point'"),
        (["--policy", "best"], "'best'"),
        (["--policy", "utility:wats=5"], "Did you mean 'watts'"),
        (["--policy", "utility:watts=5"], "what energy it takes"),
    ],
)
def test_a_mistake_is_one_line(elastiq, tiny_bundle, arguments, message):
    done = elastiq("run", tiny_bundle, *arguments, check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pickle_is_not_opened(elastiq, tiny_bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    done = elastiq("run", tiny_bundle, "--input", f"image={tmp_path / 'x.npy'}", check=2)
    assert "cannot be read" in done.stderr
