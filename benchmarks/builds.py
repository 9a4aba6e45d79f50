"""Whole builds by four backends: cold, when nothing changed, and after a SIGKILL.

    python -m benchmarks builds

The trained Perceiver of the zoo at its five points, by the command line, into a store of its own:
`-t desktop-rtx` with TensorRT for RTX, and then, with the graphs of that, `-t cpu-x86` with ONNX
Runtime, OpenVINO and TVM, verified, measured and bundled. `killed` ends the first after half the
time that it took before, and says what the same command then takes, over what it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Figure, at_most

MODEL = "zoo.perceiver:model"
BACKENDS = {"desktop-rtx": ("tensorrt_rtx",), "cpu-x86": ("onnxruntime", "openvino", "tvm")}
COLD, WARM = 5 * 60.0, 5.0  # seconds
LEFT = 0.8  # of a build that was killed half-way
KILLED = "desktop-rtx"


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        cold = {target: _seconds(target, Path(folder)) for target in BACKENDS}
        warm = {target: _seconds(target, Path(folder)) for target in BACKENDS}
    for kind, taken in {"cold": cold, "nothing changed": warm}.items():
        figures += [Figure(f"{kind}: {target}", value, "s") for target, value in taken.items()]
    figures.insert(2, at_most("cold: together", sum(cold.values()), COLD, "s"))
    figures.append(at_most("nothing changed: the slower", max(warm.values()), WARM, "s"))
    with tempfile.TemporaryDirectory() as folder:
        assert _killed(KILLED, Path(folder), cold[KILLED] / 2)
        left = _seconds(KILLED, Path(folder)) / cold[KILLED]
    return [*figures, at_most(f"killed: {KILLED}, what is left", left, LEFT, "x")]


def _seconds(target: str, folder: Path) -> float:
    start = time.perf_counter()
    if _begin(target, folder).wait():
        raise RuntimeError(f"the build for {target} failed")
    return time.perf_counter() - start


def _killed(target: str, folder: Path, after: float) -> bool:
    """Whether the build was still at work when it was killed."""
    build = _begin(target, folder)
    try:
        build.wait(after)
    except subprocess.TimeoutExpired:
        build.kill()
        build.wait()
        return True
    return False


def _begin(target: str, folder: Path) -> subprocess.Popen[bytes]:
    chosen = [word for name in BACKENDS[target] for word in ("--backend", name)]
    output = folder / f"{target}.elastiq"
    command = ["build", MODEL, "-t", target, *chosen, "-o", str(output), "--json"]
    own = {"ELASTIQ_STORE": str(folder / "store"), "ELASTIQ_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "compiler.cli", *command],
        stdout=subprocess.DEVNULL,
        env=os.environ | own,
    )
