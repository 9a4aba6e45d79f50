"""The arrows between the rooms: who may import whom, read from the code itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "elastiq": set(),
    "zoo": {"elastiq"},
    "calibration": {"elastiq"},
    "targets": {"elastiq"},
    "profiles": {"elastiq"},
    "compiler": {"elastiq", "calibration", "targets", "profiles"},
}
DEVICE_SIDE = {"numpy"}
VENDOR = {"onnx", "onnxruntime", "openvino", "tvm", "tvm_ffi", "tensorrt", "tensorrt_rtx"}
EXTRAS = {  # what a file needs that only some devices have
    "archive.py": {"zstandard"},
    "http.py": {"aiohttp"},
    "grpc.py": {"grpc", "google"},
    "metrics.py": {"prometheus_client"},
    "running.py": {"aiohttp", "grpc"},
    "tracing.py": {"opentelemetry"},
    "nvidia.py": {"pynvml"},
    "jetson.py": {"jtop"},
}


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_every_arrow_between_rooms_is_allowed(room):
    assert files(room)
    for path in files(room):
        forbidden = (imported(path) & (set(MAY_IMPORT) | {"tests", "benchmarks"})) - {room}
        assert forbidden <= MAY_IMPORT[room], f"{path} imports {forbidden - MAY_IMPORT[room]}"


def test_the_device_side_needs_numpy_and_the_runtime_of_its_engines_only():
    for path in files("elastiq"):
        outside = imported(path) - set(sys.stdlib_module_names) - {"elastiq", "__future__"}
        allowed = DEVICE_SIDE | EXTRAS.get(path.name, set())
        allowed |= VENDOR if path.parent.name == "runners" else set()
        assert outside <= allowed, f"{path} imports {outside - allowed}"


def test_only_the_lab_knows_dask_and_no_pass_knows_the_lab():
    for path in files("compiler"):
        assert path.parent.name == "lab" or not imported(path) & {"dask", "distributed"}, path
    for path in [*files("compiler/passes"), ROOT / "compiler" / "pipeline.py"]:
        assert "compiler.lab" not in path.read_text(), path


def test_backends_are_told_apart_in_their_own_files_only():
    """No `if backend == "name"`: a difference is an attribute of the backend."""
    names = {path.stem for path in files("targets/backends")} - {"__init__"}
    for room in MAY_IMPORT:
        for path in files(room):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare):
                    values = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                    assert not values & names, (
                        f"{path}:{node.lineno} compares with {values & names}"
                    )
