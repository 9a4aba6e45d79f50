"""`python -m benchmarks [NAME…]`: run all benchmarks, or those named; exit 1 if a goal fails."""

from __future__ import annotations

import importlib
import sys

from benchmarks import page
from benchmarks.harness import publish

ALL = ("elasticity", "quantization", "ranges", "precision", "burst", "footprint", "overhead")


def main() -> int:
    names = sys.argv[1:] or ALL
    held = [publish(name, importlib.import_module(f"benchmarks.{name}").run()) for name in names]
    page.write(ALL)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
