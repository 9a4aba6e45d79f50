"""The canvases are what they say: right labels, apart from each other, the same for a seed."""

import numpy as np
import torch

from zoo import digits


def test_no_scan_is_both_for_training_and_for_testing() -> None:
    train, test = set(digits.split("train")), set(digits.split("test"))
    assert not train & test
    assert len(train | test) == 1797
    scans = {
        part: {s.numpy().tobytes() for s in digits.digits(part).scans} for part in ("train", "test")
    }
    assert not scans["train"] & scans["test"]


def test_scans_are_grouped_by_class() -> None:
    target = digits._scans()[1]
    for part in ("train", "test"):
        bank = digits.digits(part)
        assert bank.sizes.tolist() == np.bincount(target[digits.split(part)]).tolist()
        assert bank.starts[-1] + bank.sizes[-1] == len(bank.scans)


def test_the_label_occurs_three_times_and_nothing_else_as_often() -> None:
    batch = digits.canvases("train", 300, np.random.default_rng(0))
    counts = torch.stack([row.bincount(minlength=11)[:10] for row in batch.slots])
    assert (counts.argmax(1) == batch.label).all()
    assert (counts.sort(1).values[:, -2:] == torch.tensor([2, 3])).all()
    assert set(counts.sum(1).tolist()) == {6, 7, 8, 9}


def test_canvases_have_the_documented_shape_and_range() -> None:
    image = digits.canvases("test", 50, np.random.default_rng(0)).image
    assert image.shape == (50, 1, 64, 64)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < 0.05
    assert 0.95 < image.max() <= 1


def test_a_digit_leaves_ink_in_its_slot() -> None:
    batch = digits.canvases("train", 400, np.random.default_rng(0))
    y, x = (64 * digits.slot_places()).long().unbind(1)
    ink = torch.stack(
        [
            batch.image[:, 0, j - 7 : j + 7, i - 7 : i + 7].mean((1, 2))
            for j, i in zip(y, x, strict=True)
        ],
        1,
    )
    empty = batch.slots == digits.EMPTY
    assert ink[~empty].mean() > 1.3 * ink[empty].mean()


def test_a_seed_gives_the_same_canvases_and_another_seed_others() -> None:
    first, again, other = (next(iter(digits.Canvases(8, seed))) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.image, other.image)


def test_the_test_set_is_fixed_and_a_smaller_one_is_its_beginning() -> None:
    small, large = digits.test_set(200), digits.test_set(700)
    assert len(large.label) == 700
    assert all(torch.equal(a, b[:200]) for a, b in zip(small, large, strict=True))
