"""OpenVINO for CPUs: its intermediate representation, with the weights that others use too."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from elastiq.codec import plain
from elastiq.errors import ElastiqError
from elastiq.records import Graph
from elastiq.runners.openvino import HINTS, LAYOUT, MODEL, REST, Layout, Span
from targets.tools import tools

name = "openvino"
runner = "openvino"
precisions = frozenset({"fp32", "int8"})
on_device = False
joins = False
integer_products = True

TOOLS = {"openvino": ("2026.0", "2027")}


@dataclass(frozen=True)
class Settings:
    """`hint`: answer each request soon, or as many as possible that come at once."""

    hint: str = "latency"

    def __post_init__(self) -> None:
        if self.hint not in HINTS:
            raise ElastiqError(f"openvino.hint is {self.hint!r}; it must be {' or '.join(HINTS)}")


def toolchain() -> str:
    return tools(TOOLS, "openvino")


def build(graph: Graph, out: Path, settings: Settings) -> None:
    import openvino

    from targets import graphs
    from targets.refusal import refusal

    model = graphs.load(graph)
    try:
        converted = openvino.Core().read_model(model.SerializeToString())
    except RuntimeError as e:
        raise refusal("OpenVINO", graph, model, e) from e
    _name_by_place(converted)
    with tempfile.TemporaryDirectory() as folder:
        constants = Path(folder) / "constants.bin"
        openvino.serialize(converted, out / MODEL, constants)
        _split(constants.read_bytes(), settings, graph.weights, out)


def _name_by_place(model: Any) -> None:
    """OpenVINO numbers what has no name by a counter of the process: here by the place instead."""
    for place, op in enumerate(model.get_ordered_ops()):
        kind = op.get_type_name()
        if re.fullmatch(rf"{re.escape(kind)}_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{kind}:{place}")


def _split(constants: bytes, settings: Settings, weights: Path, out: Path) -> None:
    """Large constants go to the weights, which other engines share; the rest stays here."""
    from targets import graphs

    spans, rest = [], bytearray()
    for offset, size in _places(out / MODEL):
        data = constants[offset : offset + size]
        if size >= graphs.SMALLEST_WEIGHT:
            spans.append(Span(offset, size, graphs.keep_weight(data, weights)))
        else:
            spans.append(Span(offset, size, ""))
            rest += data
    layout = Layout(settings.hint, len(constants), tuple(spans))
    (out / LAYOUT).write_text(json.dumps(plain(layout)))
    (out / REST).write_bytes(rest)
    graphs.list_weights({span.weight for span in spans if span.weight}, out)


def _places(model: Path) -> list[tuple[int, int]]:
    """Where the constants of a representation lie, each place once."""
    found = {
        (int(data.attrib["offset"]), int(data.attrib["size"]))
        for data in ElementTree.parse(model).iter("data")
        if "offset" in data.attrib
    }
    return sorted(found)
