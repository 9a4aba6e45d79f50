"""The report page."""

from __future__ import annotations
from elastiq.latency import LatencyTable
from elastiq.manifest import Manifest


def render(manifest: Manifest, table: LatencyTable) -> str:
    return "<html></html>"
