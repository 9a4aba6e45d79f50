"""The plan of a build: every name resolved, every mistake found, before the first slow step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.config import Config
from compiler.terms import Terms
from elastiq import archive, manifest
from elastiq.errors import ElastiqError, unknown
from elastiq.records import Point
from targets.backends import backend, configured, names, tuner
from targets.devices import Target, target

if TYPE_CHECKING:
    from compiler.source import SourceModel


@dataclass(frozen=True)
class Plan:
    """A build whose model is loaded and whose settings are known to fit together."""

    config: Config
    model: SourceModel
    points: tuple[Point, ...]
    target: Target
    backends: tuple[str, ...]
    absent: Mapping[str, str]  # the target's other backends, and why they build nothing here
    terms: Terms
    precisions: tuple[str, ...]
    recipe: str
    threads: int
    output: Path

    @property
    def archive(self) -> Path:
        """The single file beside the bundle, where one is asked for."""
        return self.output.with_name(self.output.name + archive.SUFFIX)

    @property
    def tasks(self) -> int:
        """How many steps the whole build takes, for the progress bar."""
        graphs = len({s.identity for p in self.points for s in self.model.stages[p].values()})
        variants = len(self.points) * len(self.precisions) * len(self.backends)
        int8 = graphs * (2 if self.config.smooth else 1) if "int8" in self.precisions else 0
        engines = graphs * len(self.precisions) * len(self.backends)
        busy = len(self.config.loads) + len(self.config.memory_loads) - 1
        measured = engines + graphs * busy  # all of them idle, and those chosen under load as well
        return graphs + int8 + engines + variants + measured + 3


def plan(config: Config) -> Plan:
    """Resolve a configuration, or say which of its names is wrong."""
    if not config.model and not config.onnx:
        raise ElastiqError("no model named. Try: elastiq build zoo.perceiver:model -t cpu-x86")
    if config.model and config.onnx:
        raise ElastiqError(f"name either the model {config.model} or ONNX files, not both")
    chosen = target(config.target)
    settings = configured((*chosen.settings, *config.settings))
    backends, absent = _backends(config.backends, chosen)
    precisions = config.precisions or chosen.precisions
    for precision in precisions:
        if precision not in chosen.precisions:
            raise unknown(f"precision of {chosen.name}", precision, chosen.precisions)
    if config.calibration and not Path(config.calibration).exists():
        raise ElastiqError(f"there is no calibration data at {config.calibration}")
    if config.tune:
        _check_tuning(chosen, backends)
    if config.output:
        check_output(Path(config.output))
    # Torch and the quantizer take seconds to load, so what needs neither was checked before.
    from calibration import ranges
    from calibration.recipes import recipe
    from compiler import source

    method = config.recipe or chosen.recipe
    recipe(method)
    ranges.method(config.ranges)
    if config.onnx:
        model = source.load_onnx(config.onnx, config.calibration)
    else:
        model = source.load(config.model, config.points, config.calibration, config.batches)
    output = Path(config.output or f"{model.name}.elastiq")
    check_output(output)
    made = Plan(
        config=config,
        model=model,
        points=_select(model.points, config.points),
        target=chosen,
        backends=backends,
        absent=absent,
        terms=Terms(settings, config.build_seconds, config.build_memory, config.retry),
        precisions=precisions,
        recipe=method,
        threads=config.threads or chosen.threads,
        output=output,
    )
    if config.archive:
        _check_archive(made.archive)
    return made


def check_output(path: Path) -> None:
    """Refuse to overwrite anything but a bundle, before the first slow step."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ElastiqError(f"{path} is a file or a link, not a bundle; choose another output")
    if path.is_dir() and any(path.iterdir()) and not (path / manifest.FILE).is_file():
        raise ElastiqError(f"{path} is not an Elastiq bundle, so it is not overwritten")
    if not path.parent.is_dir():
        raise ElastiqError(f"{path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise ElastiqError(f"{path.parent} cannot be written to")


def _check_archive(path: Path) -> None:
    archive.zstandard()
    if path.exists() and not archive.is_archive(path):
        raise ElastiqError(f"{path} is not an archive of a bundle, so it is not overwritten")


def _backends(asked: tuple[str, ...], target: Target) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Those that are asked for, which must work; else those of the target that are installed."""
    absent: dict[str, str] = {}
    for name in asked or target.backends:
        try:
            backend(name).toolchain()
        except ElastiqError as e:
            absent[name] = str(e)
    if asked and absent:
        raise ElastiqError("; ".join(absent.values()))
    found = tuple(name for name in asked or target.backends if name not in absent)
    if not found:
        raise ElastiqError(
            f"no backend of {target.name} is installed here: {'; '.join(absent.values())}"
        )
    return found, absent


def _check_tuning(target: Target, backends: tuple[str, ...]) -> None:
    """Kernels are measured where they are to run, which must be here."""
    if not any(tuner(name) for name in backends):
        able = ", ".join(name for name in names() if tuner(name))
        raise ElastiqError(
            f"--tune is for {able}, and the backends of this build are {', '.join(backends)}. "
            f"Name it with --backend, or leave --tune out"
        )
    if not target.here:
        raise ElastiqError(
            f"--tune measures kernels on the device, and this machine is no {target.name}. Tune on "
            "one, or leave --tune out"
        )


def _select(points: tuple[Point, ...], wanted: tuple[str, ...]) -> tuple[Point, ...]:
    """The points whose knobs have one of the wanted values, each given as `knob=1,2,3`."""
    for text in wanted:
        knob, _, values = text.partition("=")
        asked = [Point.parse(f"{knob}={value}").settings[0] for value in values.split(",")]
        for setting in asked:
            if all(setting not in point.settings for point in points):
                raise unknown("point", f"{knob}={setting[1]:g}", [point.name for point in points])
        points = tuple(p for p in points if any(setting in p.settings for setting in asked))
    return points
