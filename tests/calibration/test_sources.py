"""Calibration data from disk: drawn alike each time, mapped and not read whole, mistakes named."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.data import prepare
from calibration.sources import Preprocessing, _mapped_members, check_range, read
from elastiq.errors import ElastiqError
from elastiq.records import TensorSpec

IMAGE = (TensorSpec("image", "float32", (1, 3, 8, 8)),)
HOW = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear", 1.0)


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def test_an_npy_gives_the_same_samples_each_time_within_the_budget(tmp_path):
    np.save(tmp_path / "x.npy", images(50))
    first, second = (read(tmp_path / "x.npy", IMAGE, 10, None)[0]["image"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(first) == 10
    assert len(np.unique(first, axis=0)) == 10
    digests = {
        prepare(read(tmp_path / "x.npy", IMAGE, count, None), IMAGE, count, "x").digest
        for count in (10, 10, 11)
    }
    assert len(digests) == 2


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_gives_arrays_by_the_name_of_their_input(tmp_path, save):
    save(tmp_path / "x.npz", image=images(5), other=np.asfortranarray(np.arange(10).reshape(5, 2)))
    found = read(tmp_path / "x.npz", IMAGE, 10, None)[0]
    np.testing.assert_array_equal(found["image"], images(5))
    np.testing.assert_array_equal(found["other"], np.arange(10).reshape(5, 2))


def test_arrays_that_are_not_compressed_are_mapped_and_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", image=images(5))
    assert isinstance(_mapped_members(tmp_path / "x.npz")["image"], np.memmap)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", image=np.array([{}], dtype=object))
    with pytest.raises(ElastiqError, match="objects"):
        read(tmp_path / "x.npz", IMAGE, 10, None)
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object))
    with pytest.raises(ElastiqError, match="cannot be read as an array"):
        read(tmp_path / "x.npy", IMAGE, 10, None)


def test_pixels_that_were_not_normalised_are_named():
    with pytest.raises(ElastiqError, match=r"'image' goes from .* normalise them"):
        check_range({"image": np.abs(images(5)) * 100}, IMAGE, HOW, "here")
    check_range({"image": np.clip(images(5), -2, 2)}, IMAGE, HOW, "here")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 3, 9, 8), np.float32), "has shape"),
        (np.zeros((4, 3, 8, 8), np.float64), "is float64, not float32"),
        (np.full((4, 3, 8, 8), np.nan, np.float32), "NaN or infinity, first in sample 0"),
        (np.zeros((4, 3, 8, 8), np.float32), "sample 1 is the same as sample 0"),
        (np.float32(1), "holds no samples"),
        (np.zeros((0, 3, 8, 8), np.float32), "holds no samples"),
    ],
)
def test_spoilt_arrays_are_named(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ElastiqError, match=said):
        prepare(read(tmp_path / "x.npy", IMAGE, 4, None), IMAGE, 4, "here")


def test_what_is_no_calibration_data_is_named(tmp_path):
    (tmp_path / "x.npy").write_text("not an array")
    (tmp_path / "x.npz").write_text("not arrays")
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ElastiqError, match="cannot be read"):
            read(tmp_path / name, IMAGE, 4, None)
    with pytest.raises(ElastiqError, match="is no calibration data"):
        read(tmp_path / "x.txt", IMAGE, 4, None)


@pytest.fixture
def folder(tmp_path):
    """Five images of 16x12, each of one colour, one of them grey, in two folders."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "more").mkdir()
    for place in range(4):
        colour = (40 * place, 10, 250)
        image.new("RGB", (16, 12), colour).save(tmp_path / "more" / f"{place}.png")
    image.new("L", (16, 12), 128).save(tmp_path / "grey.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_resized_cropped_and_normalised(folder):
    found = read(folder, IMAGE, 10, HOW)[0]["image"]
    assert found.shape == (5, 3, 8, 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], (128 / 255 - 0.5) / 0.25, atol=1e-6)
    np.testing.assert_allclose(found[2][:, 3, 3], (np.array([40, 10, 250]) / 255 - 0.5) / 0.25)
    assert len(read(folder, IMAGE, 3, HOW)[0]["image"]) == 3


def test_the_middle_is_cropped_at_its_share(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:12, 4:12] = 255
    image.fromarray(pixels).save(tmp_path / "x.png")
    how = Preprocessing((0.0,) * 3, (1.0,) * 3, "nearest", 0.5)
    np.testing.assert_array_equal(read(tmp_path, IMAGE, 1, how)[0]["image"], 1)


def test_a_damaged_image_and_a_missing_data_config_are_named(folder):
    with pytest.raises(ElastiqError, match="data_config"):
        read(folder, IMAGE, 10, None)
    (folder / "a.jpg").write_bytes(b"\xff\xd8 cut off")
    with pytest.raises(ElastiqError, match=r"a\.jpg is damaged"):
        read(folder, IMAGE, 10, HOW)


def test_a_data_config_is_read_as_timm_writes_it():
    how = Preprocessing.of(
        {"input_size": (3, 8, 8), "mean": (0.5,), "std": (0.5,), "interpolation": "bilinear",
         "crop_pct": 0.9, "crop_mode": "center"}
    )  # fmt: skip
    assert how == Preprocessing((0.5,), (0.5,), "bilinear", 0.9)
    with pytest.raises(ElastiqError, match="mean and std"):
        Preprocessing.of({"mean": (0.5,)})
