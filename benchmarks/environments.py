"""Environments of their own, for peers whose packages do not fit into ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from benchmarks.harness import store
from elastiq import digest

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
PACKAGES = {
    "nncf": ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1"),
    "olive": ("olive-ai==0.13.0", "onnxruntime==1.31.1", "requests"),
}


@lru_cache
def python(name: str) -> Path | None:
    """The interpreter of an environment, made on its first use; None if it cannot be made."""
    parent = Path(os.environ.get("ELASTIQ_PEERS", store().root / "peers")).absolute()
    folder = parent / f"{name}-{digest.of_value(PACKAGES[name])[:8]}"
    found = folder / "bin" / "python"
    if not found.exists():
        for command in (
            [sys.executable, "-m", "venv", folder],
            [found, "-m", "pip", "install", "--quiet", "-c", CONSTRAINTS, *PACKAGES[name]],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(
                    f"{name} is left out, {folder} cannot be made: {done.stderr}", file=sys.stderr
                )
                shutil.rmtree(folder, ignore_errors=True)
                return None
    return found
