"""A graph that a toolchain refuses: its own words, and the nodes and the point they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from onnx import ModelProto, NodeProto

from elastiq.errors import ElastiqError
from elastiq.records import Graph

NAMED = 3  # nodes in a message
LONGEST = 600  # characters of a toolchain's own words


def refusal(toolchain: str, graph: Graph, model: ModelProto, words: object) -> ElastiqError:
    """The error for a graph that a toolchain cannot build."""
    said = " ".join(str(words).split())[:LONGEST]
    nodes = list(_meant(model.graph.node, said))[:NAMED]
    where = " and ".join(f"node {node.name!r} ({node.op_type})" for node in nodes)
    at = f" at {where}" if where else ""
    return ElastiqError(
        f"{toolchain} refuses {graph.point}, stage {graph.stage!r}, {graph.precision}{at}: {said}. "
        "Write that part of the model with other ops, or build with another --backend."
    )


def _meant(nodes: Iterable[NodeProto], said: str) -> Iterable[NodeProto]:
    """The nodes that are named in what was said; without any, one of each op that is."""
    nodes = list(nodes)
    named = [node for node in nodes if node.name and re.search(_word(node.name), said)]
    if named:
        return named
    kinds = {node.op_type: node for node in reversed(nodes)}
    return [node for kind, node in kinds.items() if re.search(_word(kind), said)]


def _word(text: str) -> str:
    return rf"(?<!\w){re.escape(text)}(?!\w)"
