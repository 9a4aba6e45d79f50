"""Other quantizers at their own defaults, as `in.onnx, feeds.npz -> out.onnx`.

    python benchmarks/peers.py NAME in.onnx feeds.npz out.onnx

Prints the version of what it used. Imports nothing of Elastiq, so that a peer runs in an
environment of its own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np


def feeds(path: str) -> Iterator[dict[str, np.ndarray]]:
    """One sample at a time of the arrays in a file."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for index in range(len(next(iter(arrays.values())))):
        yield {name: array[index : index + 1] for name, array in arrays.items()}


def onnxruntime(model: str, data: str, out: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = feeds(data)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    prepared = f"{out}.prepared.onnx"
    quant_pre_process(model, prepared)
    quantize_static(prepared, out, Reader())


def nncf(model: str, data: str, out: str, **options: Any) -> None:
    import nncf
    import onnx

    samples = nncf.Dataset(list(feeds(data)))
    # Its bias correction stops with an IndexError where a product has a constant on its left.
    tuned = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
    found = nncf.quantize(onnx.load(model), samples, advanced_parameters=tuned, **options)
    onnx.save(found, out)


def nncf_transformer(model: str, data: str, out: str) -> None:
    from nncf import ModelType

    nncf(model, data, out, model_type=ModelType.TRANSFORMER)


def olive(model: str, data: str, out: str) -> None:
    from olive.data.registry import Registry

    Registry.register_dataset("none")(lambda **_: None)
    Registry.register_dataloader("feeds")(lambda _, **__: [(feed, 0) for feed in feeds(data)])
    parts = {
        "load_dataset_config": "none",
        "pre_process_data_config": "skip_pre_process",
        "dataloader_config": "feeds",
        "post_process_data_config": "skip_post_process",
    }
    config = {"name": "feeds", "type": "DataContainer"}
    config |= {part: {"type": kind} for part, kind in parts.items()}
    _olive(model, out, {"type": "OnnxStaticQuantization", "data_config": "feeds"}, [config])


def olive_dynamic(model: str, data: str, out: str) -> None:
    _olive(model, out, {"type": "OnnxDynamicQuantization"}, [])


def _olive(model: str, out: str, quantizing: dict[str, Any], data: list[Any]) -> None:
    from olive.workflows import run

    found = run(
        {
            "input_model": {"type": "ONNXModel", "model_path": model},
            "data_configs": data,
            "passes": {"int8": quantizing},
            "output_dir": f"{out}.folder",
            "cache_dir": f"{out}.cache",
        }
    )
    shutil.copy(found.get_best_candidate().model_path, out)


# By its name, the environment (a folder of $ELASTIQ_PEERS), the package and the recipe.
PEERS = {
    "onnxruntime": ("", "onnxruntime", onnxruntime),
    "nncf": ("nncf", "nncf", nncf),
    "nncf transformer": ("nncf", "nncf", nncf_transformer),
    "olive": ("olive", "olive-ai", olive),
    "olive dynamic": ("olive", "olive-ai", olive_dynamic),
}

if __name__ == "__main__":
    _, package, quantize = PEERS[sys.argv[1]]
    quantize(*sys.argv[2:])
    print(version(package))
