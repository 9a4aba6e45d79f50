"""TVM: a library for whatever its compiler has code for, made here for devices far away too."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from elastiq import digest
from elastiq.codec import plain
from elastiq.errors import ElastiqError
from elastiq.records import Graph, TensorSpec
from elastiq.runners.tvm import LAYOUT, Layout
from targets.tools import tools

name = "tvm"
runner = "tvm"
precisions = frozenset({"fp32", "int8"})
on_device = False
joins = False
integer_products = False

TOOLS = {"apache-tvm": ("0.27", "0.28"), "ziglang": ("0.13", "")}

# What all of CUDA's devices have, and TVM must be told of one that is not here.
GPU = {"max_threads_per_block": 1024, "max_shared_memory_per_block": 49152, "thread_warp_size": 32}
LIBC = "gnu.2.31"  # the oldest that a device may have: JetPack 5's


@dataclass(frozen=True)
class Settings:
    """The device, in LLVM's and CUDA's words. `flags`: those of its CPU that others may lack."""

    machine: str = platform.machine()
    cpu: str = "generic"
    features: str = ""
    flags: str = ""
    gpu: str = ""  # sm_87; empty: the CPU


def toolchain() -> str:
    return tools(TOOLS, "tvm-build")


def build(graph: Graph, out: Path, settings: Settings) -> None:
    from elastiq.runners.tvm import load_runtime

    load_runtime()  # before all that imports it: without torch, which takes longest
    from targets import graphs, patches, relaxed
    from targets.refusal import refusal

    model = graphs.load(graph)
    try:
        imported = relaxed.imported(patches.as_products(model), graphs.SMALLEST_WEIGHT)
        executable = _compiled(imported.module, settings)
    except Exception as e:  # TVM's errors share no base class
        raise refusal("TVM", graph, model, e) from e
    draft = out / "draft.so"
    executable.export_library(str(draft), fcompile=_linker(settings.machine))
    library = draft.rename(out / f"{digest.of_file(draft)[:16]}.so")
    weights = tuple(
        TensorSpec(graphs.keep_weight(a.tobytes(), graph.weights), str(a.dtype), a.shape)
        for a in imported.weights
    )
    layout = Layout(
        library=library.name,
        version=version("apache-tvm"),
        machine=settings.machine,
        flags=tuple(filter(None, settings.flags.split(","))),
        gpu=settings.gpu,
        inputs=graph.inputs,
        outputs=tuple(output.name for output in model.graph.output),
        weights=weights,
    )
    (out / LAYOUT).write_text(json.dumps(plain(layout)))
    graphs.list_weights({weight.name for weight in weights}, out)


def _compiled(module: Any, settings: Settings) -> Any:
    import tvm

    from targets import relaxed

    host = {
        "kind": "llvm",
        "mtriple": f"{settings.machine}-linux-gnu",
        "mcpu": settings.cpu,
        "mattr": list(filter(None, settings.features.split(","))),
    }
    if not settings.gpu:
        return relaxed.for_cpu(module, tvm.target.Target(host))
    gpu = {"kind": "cuda", "arch": settings.gpu, **GPU, "host": host}
    return relaxed.for_gpu(module, tvm.target.Target(gpu))


def _linker(machine: str) -> Callable[..., None]:
    """Zig's, which needs nothing of a device's own to link for it."""

    def link(output: str, objects: list[str], **options: Any) -> None:
        command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-{LIBC}"]
        done = subprocess.run(
            [*command, "-shared", "-s", "-o", output, *objects], capture_output=True, text=True
        )
        if done.returncode:
            raise ElastiqError(f"zig cannot link for {machine}: {done.stderr.strip()}")

    return link
