"""Other quantizers at their own defaults, as `in.onnx, feeds.npz -> out.onnx`.

    python benchmarks/peers.py NAME in.onnx feeds.npz out.onnx

Imports nothing of Elastiq, so that a peer runs in an environment of its own: give the Python of one
that has `nncf` and `onnx` as $ELASTIQ_PEERS, and the benchmark compares with it too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

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


def nncf(model: str, data: str, out: str) -> None:
    import nncf
    import onnx

    samples = list(feeds(data))
    onnx.save(nncf.quantize(onnx.load(model), nncf.Dataset(samples)), out)


def nncf_transformer(model: str, data: str, out: str) -> None:
    import nncf
    import onnx

    samples = nncf.Dataset(list(feeds(data)))
    kind = nncf.ModelType.TRANSFORMER
    onnx.save(nncf.quantize(onnx.load(model), samples, model_type=kind), out)


PEERS = {
    "onnxruntime": onnxruntime,
    "nncf": nncf,
    "nncf-transformer": nncf_transformer,
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](*sys.argv[2:])
