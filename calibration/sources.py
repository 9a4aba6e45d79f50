"""Calibration data from disk: arrays that are mapped and not read whole, or a folder of images."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.data import Batch
from elastiq.errors import ElastiqError, missing
from elastiq.records import TensorSpec

SEED = 0
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LOCAL_HEADER = 30  # bytes before the name in a zip's entry


@dataclass(frozen=True)
class Preprocessing:
    """How images become inputs, in timm's words (`timm.data.resolve_model_data_config`)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875

    @classmethod
    def of(cls, config: Any) -> Preprocessing:
        """Read a `data_config`; keys that say nothing of values are passed over, as in timm."""
        try:
            return cls(
                tuple(float(value) for value in config["mean"]),
                tuple(float(value) for value in config["std"]),
                str(config.get("interpolation", cls.interpolation)),
                float(config.get("crop_pct", cls.crop_pct)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise ElastiqError(f"data_config needs mean and std, as in timm ({e})") from e

    @property
    def lowest(self) -> float:
        return min(-m / s for m, s in zip(self.mean, self.std, strict=True))

    @property
    def highest(self) -> float:
        return max((1 - m) / s for m, s in zip(self.mean, self.std, strict=True))


def read(
    path: Path, inputs: tuple[TensorSpec, ...], samples: int, how: Preprocessing | None
) -> list[Batch]:
    """At most so many samples, drawn with a fixed seed where there are more."""
    if path.is_dir():
        return _images(path, inputs, samples, how)
    if path.suffix == ".npy":
        arrays = {_only(inputs, path).name: _mapped(path)}
    elif path.suffix == ".npz":
        arrays = _mapped_members(path)
    else:
        raise ElastiqError(f"{path} is no calibration data: give a .npy, a .npz or a folder")
    for name, array in arrays.items():
        if array.ndim == 0 or not len(array):
            raise ElastiqError(f"{path}: {name!r} holds no samples; its first axis must count them")
    drawn = _drawn(min(len(array) for array in arrays.values()), samples)
    return [{name: np.asarray(array[drawn]) for name, array in arrays.items()}]


def check_range(
    batch: Batch, inputs: tuple[TensorSpec, ...], how: Preprocessing, where: str
) -> None:
    """Pixels that were not normalised are the usual mistake, and silent."""
    slack = 0.05 * (how.highest - how.lowest)
    for spec in inputs:
        array = batch.get(spec.name)
        if array is None or len(spec.shape) != 4 or array.dtype.kind != "f":
            continue
        low, high = float(np.nanmin(array)), float(np.nanmax(array))
        if low < how.lowest - slack or high > how.highest + slack:
            raise ElastiqError(
                f"{where}: {spec.name!r} goes from {low:.3g} to {high:.3g}, and normalised pixels "
                f"from {how.lowest:.3g} to {how.highest:.3g}: normalise them as in data_config"
            )


def _drawn(count: int, samples: int) -> np.ndarray:
    if count <= samples:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, samples, replace=False))


def _only(inputs: Sequence[TensorSpec], path: Path) -> TensorSpec:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise ElastiqError(f"{path} holds one array and the model has {names}: give a .npz of them")
    return inputs[0]


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as e:
        raise ElastiqError(f"{path} cannot be read as an array: {e}") from e


def _mapped_members(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz. NumPy does not map them, yet those that are not compressed can be."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return {
                info.filename.removesuffix(".npy"): _member(path, archive, info, file)
                for info in archive.infolist()
            }
    except (OSError, ValueError, zipfile.BadZipFile) as e:
        raise ElastiqError(f"{path} cannot be read as arrays: {e}") from e


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Any) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as member:
            found: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
            return found
    file.seek(info.header_offset + LOCAL_HEADER - 4)
    lengths = np.frombuffer(file.read(4), "<u2")  # of the name, and of what follows it
    file.seek(int(lengths.sum()), 1)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    shape, fortran, dtype = (header if version == (1, 0) else np.lib.format.read_array_header_2_0)(
        file
    )
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects")
    order = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload]


def _images(
    folder: Path, inputs: tuple[TensorSpec, ...], samples: int, how: Preprocessing | None
) -> list[Batch]:
    spec = _only(inputs, folder)
    if how is None:
        raise ElastiqError(
            f"{folder}: how images become inputs is not known. Give the model a data_config with "
            "mean and std, as timm.data.resolve_model_data_config makes it"
        )
    if len(spec.shape) != 4 or spec.shape[1] not in (1, 3):
        raise ElastiqError(f"{folder}: {spec.name!r} has shape {list(spec.shape)}, not an image's")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES)
    if not paths:
        raise ElastiqError(f"{folder} holds no images ({', '.join(IMAGES)})")
    drawn = [paths[i] for i in _drawn(len(paths), samples)]
    return [{spec.name: np.stack([_image(path, spec.shape, how) for path in drawn])}]


def _image(path: Path, shape: tuple[int, ...], how: Preprocessing) -> np.ndarray:
    """Resize so that the crop covers `crop_pct` of the shorter side, crop the middle, normalise."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as e:
        raise missing("PIL", "images") from e
    channels, height, width = shape[1:]
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError) as e:
        raise ElastiqError(f"{path} is damaged or no image: {e}. Remove it.") from e
    scale = max(height, width) / how.crop_pct / min(image.size)
    size = (max(round(image.width * scale), width), max(round(image.height * scale), height))
    try:
        resampling = Image.Resampling[how.interpolation.upper()]
    except KeyError:
        raise ElastiqError(f"data_config: interpolation {how.interpolation!r} is unknown") from None
    resized = image.resize(size, resampling)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    pixels = np.asarray(resized.crop((left, top, left + width, top + height)), np.float32) / 255
    values = (pixels.reshape(height, width, channels) - how.mean) / how.std
    return values.transpose(2, 0, 1).astype(np.float32)
