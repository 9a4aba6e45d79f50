"""docs/benchmarks.md, written from the results so that no figure in it was typed by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

`make bench` (or `python -m benchmarks NAME`) repeats these figures on your machine, keeps them in
`benchmarks/results/NAME.json`, and writes this page from there. What is compared runs in turns, so
that the machine's drift hits all alike; values are medians unless they say otherwise.
"""
VERDICT = {None: "", True: "holds", False: "**does not hold**"}


def write(names: tuple[str, ...]) -> None:
    """Write the page from the results that exist."""
    PAGE.write_text(render(names))


def render(names: tuple[str, ...]) -> str:
    sections = [_section(name) for name in names if (RESULTS / f"{name}.json").exists()]
    return "\n".join([INTRODUCTION, *sections])


def _section(name: str) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text())
    about = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip()
    title, _, rest = about.partition("\n")
    circumstances = ", ".join(f"{key} {value}" for key, value in result["circumstances"].items())
    return "\n".join(
        [
            f"## {title.rstrip('.')}",
            rest.rstrip() + "\n",
            f"*{circumstances}*\n",
            "| figure | value | goal | |",
            "|---|---|---|---|",
            *(_row(figure) for figure in result["figures"]),
            "",
        ]
    )


def _row(figure: dict[str, Any]) -> str:
    value = f"{figure['value']:.4g} {figure['unit']}".strip()
    return f"| {figure['name']} | {value} | {figure['goal']} | {VERDICT[figure['holds']]} |"
