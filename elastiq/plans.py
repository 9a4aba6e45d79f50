"""Engines that are plans of TensorRT: found among the weights, or made on the device.

A plan belongs to one version of TensorRT and to the GPUs that it was made for. Where it does not
fit, or none came along, one is made of the graph that lies beside it, and kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from elastiq import cache, cuda, digest, tensorrt
from elastiq.codec import decode, plain
from elastiq.errors import EngineError
from elastiq.manifest import inside
from elastiq.protocols import RunnerOptions

GRAPH = "graph.onnx"
LAYOUT = "layout.json"


@dataclass(frozen=True)
class Layout:
    """Which file among the weights is the plan, and what it was made by and for."""

    plan: str  # empty: the device makes it
    version: str  # the package, and its version
    capabilities: tuple[str, ...]
    profiles: tuple[tensorrt.Profile, ...]  # all that the plan has
    profile: int  # of them, that of this point
    fixed: tuple[tensorrt.Feed, ...]  # inputs that make the plan this point's

    def save(self, folder: Path) -> None:
        digest.write_atomically(folder / LAYOUT, json.dumps(plain(self)).encode())


def version(runtime: ModuleType) -> str:
    return f"{runtime.__name__} {runtime.__version__}"


def layout(folder: Path) -> Layout:
    return decode(Layout, digest.parse((folder / LAYOUT).read_bytes()), LAYOUT)


@dataclass(frozen=True)
class Maker:
    """Finds and makes the plans that fit one GPU."""

    runtime: ModuleType
    capability: str

    def fits(self, layout: Layout) -> bool:
        return layout.version == version(self.runtime) and self.capability in layout.capabilities

    def kept(self, folder: Path) -> bytes | None:
        """What this device made before of an engine's graph."""
        found = cache.find(self._key(folder))
        return None if found is None else found.tobytes()

    def make(
        self, folder: Path, weights: Path, help: tensorrt.Help, capabilities: tuple[str, ...] = ()
    ) -> bytes:
        """A plan of an engine's graph. Without capabilities, it is for the GPU that is here."""
        graph, profiles = (folder / GRAPH).read_bytes(), layout(folder).profiles
        try:
            made = tensorrt.plan(self.runtime, graph, weights, capabilities, profiles, help)
        except (tensorrt.Refusal, RuntimeError) as e:
            raise EngineError(f"{version(self.runtime)} cannot build {folder}: {e}") from e
        cache.keep(self._key(folder), made)
        return made

    def _key(self, folder: Path) -> str:
        profiles = plain(layout(folder).profiles)
        graph = digest.of_file(folder / GRAPH)
        made_of = [graph, profiles, version(self.runtime), self.capability]
        return f"{self.runtime.__name__}-{digest.of_value(made_of)}"


def load(
    runtime: ModuleType, folder: Path, options: RunnerOptions, rebuild: bool
) -> tensorrt.PlanEngine:
    """The engine of a folder. Unless told to `rebuild`, one without a fitting plan is refused."""
    driver = cuda.driver()
    maker, found, weights = Maker(runtime, driver.capability), layout(folder), options.weights
    made = inside(weights, found.plan).read_bytes() if maker.fits(found) else maker.kept(folder)
    if made is None and not rebuild:
        raise EngineError(
            f"{folder} has no plan by {version(runtime)} for {driver.capability}. Make it, on "
            "this device, with: elastiq finalize BUNDLE"
        )
    if made is None:
        made = maker.make(folder, weights, tensorrt.Help())
    fixed = {feed.input: feed.read(weights) for feed in found.fixed}
    try:
        return tensorrt.PlanEngine(runtime, driver, made, found.profile, fixed)
    except RuntimeError as e:
        raise EngineError(f"{version(runtime)} cannot load {folder}: {e}") from e


def finish(
    runtime: ModuleType, folder: Path, weights: Path, help: tensorrt.Help, capability: str = ""
) -> tuple[str, ...]:
    """Put a fitting plan among the weights, and name it in the engine's folder; its name.

    It is for the GPU that is here, or for the capability of one that is not.
    """
    maker = Maker(runtime, capability or cuda.driver().capability)
    found = layout(folder)
    if maker.fits(found):
        return (found.plan,)
    made = maker.kept(folder)
    if made is None:
        made = maker.make(folder, weights, help, (capability,) if capability else ())
    name = digest.of_bytes(made)
    if not (weights / name).exists():
        digest.write_atomically(weights / name, made)
    fitting = replace(found, plan=name, version=version(runtime), capabilities=(maker.capability,))
    fitting.save(folder)
    return (name,)
