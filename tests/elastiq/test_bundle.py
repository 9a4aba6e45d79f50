"""Bundles on the device: every file is checked before its use, and damage is told, not run."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

import elastiq
from elastiq import digest
from elastiq.errors import BundleError, ElastiqError
from elastiq.manifest import read


def rewrite(bundle, change):
    """Change the manifest and give it a right digest, as somebody who means it would."""
    path = bundle / "manifest.json"
    body = json.loads(path.read_text())
    del body["digest"]
    change(body)
    body["digest"] = digest.of_value(body)
    path.write_text(json.dumps(body))


def use(bundle):
    with elastiq.open(bundle, share=False) as opened:  # packed weights are read instead of its own
        for point in opened.manifest.points:
            opened.execute(point.name, opened.samples().input(0))


def test_points_answer_as_they_were_verified(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        samples = bundle.samples()
        assert len(samples) == 64
        for point in bundle.manifest.points:
            for index in range(8):
                answer = bundle.execute(point.name, samples.input(index))["logits"]
                golden = samples.outputs[point.name]["logits"][index : index + 1]
                np.testing.assert_allclose(answer, golden, rtol=1e-4, atol=1e-4)


def test_every_engine_of_a_bundle_loads_by_key(motley_bundle):
    with elastiq.open(motley_bundle) as bundle:
        keys = [engine.key for engine in bundle.manifest.engines]
        assert len(keys) == 4 * len(bundle.manifest.toolchain)  # points and precisions of each
        image = bundle.samples().input(0)
        answers = [bundle.engine(key)(image)["logits"] for key in keys]
        assert all(answer.shape == (1, 5) for answer in answers)


def test_a_whole_bundle_passes_its_check(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        assert bundle.check() == len(bundle.manifest.files)


def test_weights_stand_once_whatever_the_number_of_points(tiny_bundle):
    manifest = read(tiny_bundle)
    fp32 = [set(e.weights) for e in manifest.engines if e.precision == "fp32"]
    assert fp32[0] & fp32[1]
    for name, record in manifest.files.items():
        if name.startswith("weights/"):
            assert name == f"weights/{record.sha256}"


@pytest.mark.parametrize("kind", ["engines/", "weights/", "profiles/", "samples.npz"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named_before_it_is_used(own_bundle, kind, damage):
    victims = [own_bundle / name for name in read(own_bundle).files if name.startswith(kind)]
    for path in victims:
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        elif damage == "truncate":
            path.write_bytes(data[:-1])
        else:
            path.unlink()
    with pytest.raises(BundleError, match=r"Copy (it|the bundle) again") as error:
        use(own_bundle)
    assert any(str(path) in str(error.value) for path in victims)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}', "\x00\xff"])
def test_a_spoilt_manifest_is_refused(own_bundle, text):
    (own_bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        elastiq.open(own_bundle)


def test_an_altered_manifest_is_refused(own_bundle):
    path = own_bundle / "manifest.json"
    path.write_text(path.read_text().replace('"tiny"', '"tony"', 1))
    with pytest.raises(BundleError, match="altered"):
        elastiq.open(own_bundle)


def test_a_bundle_of_a_later_schema_says_so(own_bundle):
    rewrite(own_bundle, lambda body: body.update(schema_version=99))
    with pytest.raises(BundleError, match="schema 99"):
        elastiq.open(own_bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", "..\\x"])
def test_a_manifest_cannot_name_a_file_outside_its_bundle(own_bundle, name):
    record = {"sha256": "0" * 64, "size": 1}
    rewrite(own_bundle, lambda body: body["files"].update({name: record}))
    with pytest.raises(BundleError, match="outside the bundle"):
        elastiq.open(own_bundle)


def test_an_engine_folder_or_weight_outside_the_bundle_is_refused(own_bundle):
    rewrite(own_bundle, lambda body: body["engines"][0].update(folder="../.."))
    with elastiq.open(own_bundle) as bundle, pytest.raises(BundleError, match="outside"):
        bundle.engine(bundle.manifest.engines[0].key)


def test_a_link_in_the_place_of_a_file_is_refused(own_bundle, tmp_path):
    name = next(name for name in read(own_bundle).files if name.startswith("weights/"))
    (own_bundle / name).rename(tmp_path / "elsewhere")
    (own_bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="link"):
        elastiq.open(own_bundle)


@pytest.mark.parametrize("part", ["driver", "runner"])
def test_code_that_the_product_does_not_have_is_never_looked_for_elsewhere(own_bundle, part):
    def change(body):
        if part == "driver":
            body["driver"] = "..os"
        else:
            for engine in body["engines"]:
                engine["runner"] = "..os"

    rewrite(own_bundle, change)
    with pytest.raises(ElastiqError):
        use(own_bundle)


def test_a_file_that_somebody_added_fails_the_check(own_bundle):
    (own_bundle / "engines" / "extra.so").write_bytes(b"\x7fELF")
    with elastiq.open(own_bundle) as bundle, pytest.raises(BundleError, match="not named"):
        bundle.check()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "input 'image' is missing"),
        ({"image": np.zeros((1, 1, 8, 8), np.float32)}, r"takes float32\[1, 1, 16, 16\]"),
        ({"image": np.zeros((1, 1, 16, 16))}, r"is float64\[1, 1, 16, 16\]"),
    ],
)
def test_wrong_inputs_are_told_what_is_right(tiny_bundle, inputs, said):
    with elastiq.open(tiny_bundle) as bundle, pytest.raises(ElastiqError, match=said):
        bundle.execute("queries=2", inputs)


def test_a_point_that_is_not_there_is_told_the_nearest(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle, pytest.raises(ElastiqError, match="'queries=8'"):
        bundle.load("queries=9")


def test_what_serves_at_once_serves_with_every_point_soon(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        dearest = max(bundle.manifest.points, key=lambda point: point.score)
        image = bundle.samples().input(0)
        with bundle.serve(wait=False) as worker:
            until = time.monotonic() + 60
            while worker.submit(image).result().point != dearest.name:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_a_point_that_cannot_be_loaded_is_left_out(own_bundle, caplog):
    cheapest, *_, dearest = read(own_bundle).points
    engine = next(e for e in read(own_bundle).engines if e.key == dearest.stages["main"].engine)
    for path in (own_bundle / engine.folder).iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    with elastiq.open(own_bundle) as bundle:
        image = bundle.samples().input(0)
        bundle.infer(image, deadline=30.0)
        until = time.monotonic() + 60
        while "is left out" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert bundle.infer(image)["logits"].tobytes() == (
            bundle.execute(cheapest.name, image)["logits"].tobytes()
        )


def test_engines_that_share_weights_read_them_once(tiny_bundle, digested):
    with elastiq.open(tiny_bundle, share=False) as bundle, bundle.serve():
        pass
    assert len(digested) == len(set(digested))


def test_a_bundle_closes_while_its_engines_are_loaded(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        image = bundle.samples().input(0)
        assert bundle.infer(image)["logits"].shape == (1, 5)
