"""A real bundle on emulated aarch64 Linux: engines, dispatcher and server, held against x86.

    python -m tests.arm64 [FOLDER]

Needs `qemu-user-static` and `mmdebstrap`, and root for the latter. FOLDER keeps the small Debian
and the wheels for the next time.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import elastiq
from elastiq.bundle import Bundle
from elastiq.goldens import TOLERANCE

ROOT = Path(__file__).parent.parent
QEMU = "qemu-aarch64-static"
CPU = "cortex-a76"  # has dot products, as Jetson Orin's and a Raspberry Pi 5's have
PYTHON = "python3.11"
PACKAGES = [
    f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libstdc++6", "libgomp1", "zlib1g", "libssl3",
    "libffi8",
]  # fmt: skip
WHEELS = ("numpy", "click", "onnxruntime", "apache-tvm", "aiohttp", "grpcio", "protobuf",
          "prometheus-client")  # fmt: skip
MODEL = ("zoo.perceiver:model", "--points", "queries=4,64")
# Emulated programs see the host's, over which ONNX Runtime falls: it looks for ARM's words there.
CPUINFO = """\
processor\t: {core}
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 1

"""
BACKENDS = ("--backend", "onnxruntime", "--backend", "tvm")
DEADLINE = 60_000  # milliseconds: emulation is slow
ASKED = 8  # samples, of each protocol


def main(folder: Path) -> None:
    missing = [tool for tool in (QEMU, "mmdebstrap") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not run: {', '.join(missing)} missing (apt-get install qemu-user-static "
                 "mmdebstrap)")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _make_root(folder / "root")
    _install(folder / "site")
    with tempfile.TemporaryDirectory(dir=folder) as made:
        bundle = Path(made) / "perceiver.elastiq"
        _here("build", *MODEL, "-t", "cpu-arm64", *BACKENDS, "-o", bundle)
        device = Device(folder, Path(made) / "home")
        print("check:", device.run("check", bundle).strip())
        _finalize(device, bundle)
        with elastiq.open(bundle) as opened:
            _run(device, opened)
            _serve(device, opened)
    print("arm64: all held")


class Device:
    """Runs `elastiq` commands as an aarch64 machine would."""

    def __init__(self, folder: Path, home: Path) -> None:
        root = folder / "root"
        libraries = root / "usr/lib/aarch64-linux-gnu"
        self._command = [
            QEMU, "-cpu", CPU, "-E", f"LD_LIBRARY_PATH={libraries}",
            str(root / "usr/bin" / PYTHON), "-m", "compiler.cli",
        ]  # fmt: skip
        home.mkdir()
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "QEMU_LD_PREFIX": str(root),
            "PYTHONHOME": str(root / "usr"),
            "PYTHONPATH": f"{folder / 'site'}:{ROOT}",
            "ELASTIQ_STORE": str(home / "store"),
            "ELASTIQ_CACHE": str(home / "cache"),
        }

    def run(self, *arguments: object) -> str:
        command = [*self._command, *map(str, arguments)]
        done = subprocess.run(
            command, env=self._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    @contextmanager
    def start(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        command = [*self._command, *map(str, arguments)]
        with subprocess.Popen(
            command, env=self._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()


def _make_root(root: Path) -> None:
    if (root / "proc/cpuinfo").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    print("making a small Debian for arm64")
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--architectures=arm64",
         f"--include={','.join(PACKAGES)}", "bookworm", root],
        check=True,
    )  # fmt: skip
    cores = range(os.cpu_count() or 1)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(CPUINFO.format(core=core) for core in cores))


def _install(site: Path) -> None:
    done = site / "complete"
    if done.exists():
        return
    print("fetching wheels for arm64")
    shutil.rmtree(site, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-qq", "--target", site, "--only-binary=:all:",
         "--platform", "manylinux_2_28_aarch64", "--platform", "manylinux_2_17_aarch64",
         "--platform", "manylinux2014_aarch64", "--python-version", PYTHON.removeprefix("python"),
         "--implementation", "cp", "-c", ROOT / "constraints.txt", *WHEELS],
        check=True,
    )  # fmt: skip
    done.touch()


def _here(*arguments: object) -> None:
    command = [sys.executable, "-m", "compiler.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def _finalize(device: Device, bundle: Path) -> None:
    """Every engine, at each precision, answers as its graph did on x86."""
    # An emulated program can start no other: neither burners nor a process to weigh an engine in.
    alone = ("--loads", 0, "--memory-loads", 0)
    told = json.loads(device.run("finalize", bundle, *alone, "--profile-seconds", 0.2, "--json"))
    assert not told["failures"], told["failures"]
    assert len(told["errors"]) == 8, told["errors"]  # two points, backends and precisions
    for variant, error in told["errors"].items():
        print(f"finalize: {variant} is off by {error:.2g}")
        assert error <= TOLERANCE
    assert all(engine["executed"] for engine in told["engines"].values())


def _run(device: Device, bundle: Bundle) -> None:
    """The dispatcher chooses by the table that was just measured there."""
    assert "aarch64" not in platform.machine()
    told = json.loads(device.run("run", bundle.path, "--deadline", DEADLINE, "--explain", "--json"))
    best = max(bundle.manifest.points, key=lambda point: point.score)
    assert told["point"] == best.name, told["choice"]
    _compare(bundle, told["point"], 0, np.array(told["outputs"]["logits"]))
    print(f"run: {told['point']} in {1000 * told['took']:.0f} ms")


def _serve(device: Device, bundle: Bundle) -> None:
    """What clients on x86 are answered, over both protocols, is what was verified."""
    from tritonclient import grpc, http

    command = ("serve", f"digits={bundle.path}", "--port", 0, "--grpc-port", 0, "--json")
    with device.start(*command) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        for protocol, module, port in (("http", http, "http"), ("grpc", grpc, "grpc")):
            client: Any = module.InferenceServerClient(
                f"127.0.0.1:{ports[port]}", **({"network_timeout": 300.0} if module is http else {})
            )
            assert client.is_model_ready("digits")
            for index in range(ASKED):
                image = bundle.samples().input(index)["image"]
                asked = module.InferInput("image", list(image.shape), "FP32")
                asked.set_data_from_numpy(image)
                answer = client.infer("digits", [asked], parameters={"deadline_ms": DEADLINE})
                told = answer.get_response()
                point = _parameter(told, "point")
                _compare(bundle, point, index, answer.as_numpy("logits"))
            client.close()
            print(f"serve: {ASKED} answers over {protocol} are those of x86")


def _parameter(told: Any, name: str) -> str:
    parameters = told["parameters"] if isinstance(told, dict) else told.parameters
    value = parameters[name]
    return value if isinstance(value, str) else value.string_param


def _compare(bundle: Bundle, point: str, index: int, found: np.ndarray) -> None:
    golden = bundle.samples().outputs[point]["logits"]
    error = np.abs(found - golden[index]).max() / np.abs(golden).max()
    assert error <= TOLERANCE, f"{point}, sample {index}: off by {error:.2g}"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "demo" / "arm64").resolve())
