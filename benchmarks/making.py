"""Bundles and engines to measure, made as users make them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import store
from compiler import config, pipeline
from compiler.plan import plan
from compiler.progress import Progress


def made(
    settings: Mapping[str, Any], until: str = "bundle", output: Path | None = None
) -> pipeline.Build:
    """Build in the store that all benchmarks share, up to and with a pass; the bundle is kept only
    where it is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        path = output or Path(folder) / "bundle.elastiq"
        planned = plan(config.read(None, {**settings, "output": str(path)}))
        with Progress(planned.tasks) as progress:
            return pipeline.build(planned, store(), progress, until)
