"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

MODEL_EXAMPLE = "zoo.perceiver:model -t cpu-x86 --points queries=16,32,64"
Decorated = Callable[..., Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def bundle(function: Decorated) -> Decorated:
    """The bundle that a command is about."""
    return click.argument("bundle", type=click.Path())(function)


def _listed(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    return tuple(value)


def _numbers(kind: Callable[[str], float], example: str) -> Decorated:
    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        if not value:
            return ()
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is not a list of numbers such as {example}"
            ) from None

    return read


loads = click.option(
    "--loads", callback=_numbers(float, "0,0.5,1"), help="Load levels to profile at. [0,0.5,1]"
)
memory_loads = click.option(
    "--memory-loads",
    callback=_numbers(float, "0.5,1"),
    help="And those whose programs stream through memory; 0: none. [1]",
)


def building(function: Decorated) -> Decorated:
    """The settings of a build; each overrides its key in elastiq.toml."""
    for option in reversed(_BUILDING):
        function = option(function)
    return function


_BUILDING = (
    click.argument("model", required=False),
    click.option(
        "--onnx",
        multiple=True,
        callback=_listed,
        help="Instead of MODEL, a file for each point: queries=16:vit_q16.onnx.",
    ),
    click.option("-t", "--target", help="The device to build for; see `elastiq targets`."),
    click.option("--points", multiple=True, callback=_listed, help="Only these: queries=16,32,64."),
    click.option(
        "--batch",
        "batches",
        callback=_numbers(int, "1,4"),
        help="Requests that one run may answer, a point for each: 1,4. [1]",
    ),
    click.option(
        "--backend", "backends", multiple=True, callback=_listed, help="Only this backend."
    ),
    click.option(
        "--set", "settings", multiple=True, callback=_listed, help="backend.setting=value."
    ),
    click.option("--precision", "precisions", multiple=True, callback=_listed, help="Only this."),
    click.option(
        "--accuracy-drop", type=float, help="Points of accuracy an engine may cost. [0.5]"
    ),
    click.option(
        "--budget-seconds", type=float, help="At most, per point, on giving layers back. [600]"
    ),
    click.option("--build-seconds", type=float, help="At most, to build an engine. [600]"),
    click.option("--tune", type=float, help="Minutes at most, to tune kernels (tvm). [0]"),
    click.option("--build-memory", type=float, help="GiB at most, to build an engine. [all]"),
    click.option(
        "--retry", is_flag=True, default=None, help="Build again what could not be built before."
    ),
    click.option(
        "--sensitivity/--no-sensitivity",
        default=None,
        help="Report every layer's sensitivity at every point. [only over budget]",
    ),
    click.option("--recipe", help="Quantize as in: portable, cpu or nvidia. [the target's]"),
    click.option("--ranges", help="percentile, minmax, mse or entropy. [percentile]"),
    click.option(
        "--smooth/--no-smooth", default=None, help="Move outlier channels into weights. [smooth]"
    ),
    click.option("--calibration", help="A .npy, .npz or folder of images. [the model's own]"),
    click.option("--calibration-samples", type=int, help="Samples to calibrate with. [128]"),
    click.option("--threads", type=int, help="Threads per engine. [what the target says]"),
    loads,
    memory_loads,
    click.option("--profile-seconds", type=float, help="At most, per engine and load. [2]"),
    click.option(
        "--keep", type=click.Choice(["fastest", "all"]), help="Engines to ship. [fastest]"
    ),
    click.option("--lab", help="Build and measure in the lab at tcp://HOST:PORT."),
    click.option(
        "--lab-patience", type=float, help="Seconds to wait for a worker that has gone. [300]"
    ),
    click.option("-o", "--output", help="The bundle to write. [MODEL's name + .elastiq]"),
    click.option(
        "--archive", is_flag=True, default=None, help="Write the bundle as a single file, too."
    ),
    click.option("--config", help="A build file. [elastiq.toml, if there is one]"),
)
