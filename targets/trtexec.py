"""The script that makes an engine's plan with NVIDIA's `trtexec`, for those who would rather."""

from __future__ import annotations

from elastiq.plans import GRAPH, Layout

TEMPLATE = """\
#!/bin/sh
# Builds this engine's plan with NVIDIA's trtexec, as `elastiq finalize` does with its Python
# package, and measures it. Usage: trtexec.sh [PLAN [TIMING_CACHE]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
plan=${{1:-plan.engine}}
timings=${{2:-timing.cache}}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/../../../../../weights/* "$work"  # which the graph names
cp "$here/{graph}" "$work"
"${{TRTEXEC:-trtexec}}" --onnx="$work/{graph}" --stronglyTyped \\
    --saveEngine="$plan" --timingCacheFile="$timings"{shapes}
"""


def script(layout: Layout) -> str:
    """Of the engine whose folder it is to lie in, within a bundle."""
    return TEMPLATE.format(graph=GRAPH, shapes="".join(f" \\\n    {s}" for s in _shapes(layout)))


def _shapes(layout: Layout) -> list[str]:
    if not layout.profiles:
        return []
    profile, (fixed,) = layout.profiles[layout.profile], layout.fixed
    shapes = {
        "minShapes": profile.least,
        "optShapes": profile.likely,
        "maxShapes": profile.most,
        "shapes": fixed.shape,
    }
    return [f"--{flag}={profile.input}:{'x'.join(map(str, s))}" for flag, s in shapes.items()]
