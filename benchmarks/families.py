"""The elastic families: what each knob buys, and whether it is what its paper promises.

    python -m benchmarks families

Accuracy on the trained checkpoints, through each family's driver; time of one request on one thread
of ONNX Runtime (of a sequence: all twelve glimpses, each answered), on the trained size and, where
a line says *large*, on an untrained one of 384 dimensions (the Perceiver's: 512), where the knob
outweighs what every call costs. Dense is the plain transformer, trained as long. What is compared,
and what the papers say, is in docs/families.md.
"""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path

import numpy as np
import torch

import elastiq
from benchmarks.driven import Driven, driven
from benchmarks.harness import Figure, at_least, at_most, interleaved
from benchmarks.making import made
from elastiq import contest
from elastiq.bundle import Bundle
from elastiq.traffic import Traffic
from profiles.charts import Mark, Series, chart
from zoo import concatplexer, family, tore
from zoo.glimpses import glimpsed
from zoo.glyphs import PARTS, WHOLE

ROUNDS, LARGE_ROUNDS = 100, 10
REPLAYED = 6.0  # seconds
CHARTS = Path(__file__).parent.parent / "docs" / "families"
STYLE = (
    "<style>text{font:12px sans-serif;fill:#5b6875}polyline{fill:none;stroke-width:2}"
    "svg{--c0:#0b6bcb;--c1:#c4540a;--c2:#1a7f4b;--c3:#7a3fb5;background:#fff}"
    ".grid{stroke:#dde3e9}</style>"
)
Seconds = dict[tuple[str, str], float]


def run() -> list[Figure]:
    dense = driven("zoo.vit:model")
    large_dense = driven("zoo.vit:realistic", ("fp32",))
    return [
        *_perceiver(),
        *_patchmerger(),
        *_concatplexer(dense, large_dense),
        *_packed(),
        *_adavit(dense),
        *_tore(),
    ]


def _perceiver() -> list[Figure]:
    """Beside the truncated control it is held in `benchmarks elasticity`."""
    model = driven("zoo.perceiver:model")
    large = driven("zoo.perceiver:realistic", ("fp32",), ("queries=128", "queries=256"))
    figures, score, seconds = _points(model, dense=None)
    large_seconds = _seconds([large], LARGE_ROUNDS)
    costs = score["queries=64", "fp32"] - score["queries=32", "fp32"]
    faster = _of(seconds, model, "queries=64") / _of(seconds, model, "queries=32")
    larger = _of(large_seconds, large, "queries=256") / _of(large_seconds, large, "queries=128")
    return [
        *figures,
        at_most("perceiver: half the queries cost", costs, 1.0, "points"),
        at_least("perceiver: half the queries are faster by", faster, 1.5, "x"),
        at_least("perceiver: half the queries are faster by, large", larger, 1.8, "x"),
    ]


def _patchmerger() -> list[Figure]:
    model = driven("zoo.patchmerger:model")
    large = driven("zoo.patchmerger:realistic", ("fp32",), ("merged=8", "merged=196"))
    figures, score, _ = _points(model, dense=None)
    dense = 100 * family.record("patchmerger-control")["test_accuracy"]["merged=64"]
    saved = 100 * (1 - _gflops(large, "merged=8") / _gflops(large, "merged=196"))
    seconds = _seconds([large], LARGE_ROUNDS)
    return [
        *figures,
        Figure("patchmerger: dense control", dense, "%"),
        at_most("patchmerger: merged=8 costs", dense - score["merged=8", "fp32"], 0.5, "points"),
        at_least("patchmerger: merged=2 costs", dense - score["merged=2", "fp32"], 3.0, "points"),
        at_least("patchmerger: FLOPs saved by merged=8, large", saved, 40, "%"),
        at_least(
            "patchmerger: merged=8 is faster by, large",
            _of(seconds, large, "merged=196") / _of(seconds, large, "merged=8"),
            1.6,
            "x",
        ),
    ]


def _concatplexer(dense: Driven, large_dense: Driven) -> list[Figure]:
    model = driven("zoo.concatplexer:model")
    large = driven("zoo.concatplexer:realistic", ("fp32",), ("images=4", "images=2"))
    figures, score, seconds = _points(model, dense)
    best = 100 * family.record("vit-control")["test_accuracy"]["dense"]
    keyed = family.record("concatplexer-control")["test_accuracy"]
    large_seconds = _seconds([large, large_dense], LARGE_ROUNDS)
    figures.append(Figure("concatplexer: dense control", best, "%"))
    for images, points, faster in ((2, 1.5, 1.5), (4, 4.0, 2.3)):
        at = f"images={images}"
        plain = _of(seconds, dense) / _of(seconds, model, at)
        larger = _of(large_seconds, large_dense) / _of(large_seconds, large, at)
        spread, changed = _company(images)
        figures += [
            at_most(f"concatplexer: {at} costs", best - score[at, "fp32"], points, "points"),
            Figure(
                f"concatplexer: {at}, keyed sum instead, costs", best - 100 * keyed[at], "points"
            ),
            at_least(f"concatplexer: {at} is faster for each image by", plain, faster, "x"),
            at_least(f"concatplexer: {at} is faster for each image by, large", larger, faster, "x"),
            at_most(f"concatplexer: {at}, accuracy between slots", spread, 1.0, "points"),
            Figure(f"concatplexer: {at}, answers that other company changes", changed, "%"),
        ]
    return figures


@torch.no_grad()
def _company(images: int) -> tuple[float, float]:
    """The spread of the slots' accuracy, and the share of answers that depend on the company.

    Every canvas stands in every slot once, each time beside others.
    """
    network, test = concatplexer.model().network, WHOLE.test_set()
    answers = []
    for slot in range(images):
        order = torch.randperm(len(test.label), generator=torch.Generator().manual_seed(slot))
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        given = test.image[order].unflatten(0, (-1, images))
        for turn in range(images):
            turned = given.roll(turn, 1).flatten(0, 1)
            said = torch.cat([network(part, images).argmax(1) for part in turned.split(400)])
            back = said.unflatten(0, (-1, images)).roll(-turn, 1).flatten()[place]
            slots = (place % images + turn) % images
            answers.append((back, slots))
    right = [torch.cat([(a == test.label)[s == k] for a, s in answers]) for k in range(images)]
    accuracy = [100 * one.double().mean().item() for one in right]
    first, second = answers[0][0], answers[images][0]
    return max(accuracy) - min(accuracy), 100 * (first != second).double().mean().item()


def _packed() -> list[Figure]:
    """More requests than one image a pass can carry: how many are packed follows the queue.

    Deadlines leave time to wait for company.
    """
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "concatplexer.elastiq"
        made({"model": "zoo.concatplexer:model"}, output=path)
        with elastiq.open(path) as bundle:
            alone = bundle.table.of(bundle.manifest.points[-1], load=0.0)
            for kind, load in (("step", 1.0), ("poisson", 1.5)):
                traffic = Traffic(kind, load / alone.mean, 10 * alone.p50, REPLAYED)
                figures += _against_fixed(f"concatplexer: {kind} at {load:g}", bundle, traffic)
    return figures


def _against_fixed(name: str, bundle: Bundle, traffic: Traffic) -> list[Figure]:
    ours, *fixed = contest.real(bundle, ("utility",), traffic).reports
    best = max(fixed, key=lambda report: report.effective_accuracy)
    gain = 100 * (ours.effective_accuracy - best.effective_accuracy)
    return [
        Figure(f"{name}: effective accuracy, dispatcher", 100 * ours.effective_accuracy, "%"),
        Figure(f"{name}: the best fixed, {best.name}", 100 * best.effective_accuracy, "%"),
        Figure(f"{name}: the dispatcher is ahead by", gain, "points"),
        Figure(f"{name}: answered in time", 100 * ours.attainment, "%"),
        Figure(f"{name}: shifts in a hundred requests", 100 * ours.shifts / ours.requests, ""),
        Figure(f"{name}: the sender was late by (p99)", 1000 * ours.sender_p99, "ms"),
    ]


def _adavit(dense: Driven) -> list[Figure]:
    model = driven("zoo.adavit:model")
    large = driven("zoo.adavit:realistic", ("fp32",))
    wide = driven("zoo.adavit:dense", ("fp32",))
    figures, score, seconds = _points(model, dense)
    best = 100 * family.record("vit-control")["test_accuracy"]["dense"]
    own, chance = (
        100 * family.record(name)["test_accuracy"]["random"]
        for name in ("adavit", "adavit-control")
    )
    largest = str(model.model.points[-1])
    buckets = model.model.driver_settings["buckets"]
    took = _of(seconds, model, largest) / _of(seconds, dense)
    took_large = _mean_of_buckets(large, buckets, wide)
    by_policy = score[largest, "fp32"]
    used = sum(bucket["share"] >= 0.05 for bucket in buckets)
    return [
        *figures,
        Figure("adavit: dense control", best, "%"),
        at_most("adavit: the policy costs", best - by_policy, 1.0, "points"),
        at_least("adavit: it is better than chance by", by_policy - own, 3.0, "points"),
        at_least("adavit: it is better than learnt chance by", by_policy - chance, 3.0, "points"),
        at_least("adavit: buckets with a share of 5 %", used, 3, "buckets"),
        at_most("adavit: mean time beside dense", took, 0.6, "x"),
        at_most("adavit: mean time beside dense, large", took_large, 0.6, "x"),
    ]


def _mean_of_buckets(large: Driven, buckets: list[dict], dense: Driven) -> float:
    """Policy and buckets at the shares that were learnt: an untrained policy knows no shares."""
    point = large.model.points[-1]
    ready = large.ready(point)
    (request,) = large.requests(1)
    seen = ready.engines["policy"](request)
    runs = {"policy": lambda: ready.engines["policy"](request)}
    for bucket in buckets:
        stage = bucket["stage"]
        (count,) = (
            b["tokens"] for b in large.model.driver_settings["buckets"] if b["stage"] == stage
        )

        def one(stage: str = stage, count: int = count) -> object:
            best = np.sort(np.argpartition(-seen["keep"][0], count - 1)[:count])
            return ready.engines[stage]({"tokens": seen["tokens"][:, best]})

        runs[stage] = one
    whole, _ = next(iter(dense.work().values()))
    seconds = interleaved({**runs, "dense": whole}, LARGE_ROUNDS)
    mean = sum(bucket["share"] * seconds[bucket["stage"]] for bucket in buckets)
    return (seconds["policy"] + mean) / seconds["dense"]


def _tore() -> list[Figure]:
    model = driven("zoo.tore:model")
    large = driven("zoo.tore:realistic", ("fp32",), ("split=8", "split=0"))
    figures, _, seconds = _points(model, dense=None)
    found = family.record("tore")["test_accuracy"]
    never = family.record("tore-control")["test_accuracy"]
    for split in tore.SMALL.splits:
        for n in (4, 8, 12):
            lost = never[f"split=0 n={n}"] - found[f"split={split} n={n}"]
            name = f"tore: split={split} after {n} glimpses costs"
            figures.append(at_most(name, 100 * lost, 1.0, "points"))
    large_seconds = _seconds([large], LARGE_ROUNDS)
    took = _of(seconds, model, "split=4") / _of(seconds, model, "split=0")
    took_large = _of(large_seconds, large, "split=8") / _of(large_seconds, large, "split=0")
    return [
        *figures,
        at_most("tore: 12 glimpses at K=2L/3 beside K=0", took, 0.75, "x"),
        at_most("tore: 12 glimpses at K=2L/3 beside K=0, large", took_large, 0.75, "x"),
        *_exploring(),
    ]


@torch.no_grad()
def _exploring() -> list[Figure]:
    """Glimpses where the decoder is least sure, beside glimpses at random."""
    network, test, figures = tore.model().network, PARTS.test_set(2000), []
    for n in (4, 6, 8):
        right: dict[str, list[np.ndarray]] = {"chosen": [], "random": []}
        for seed, part in enumerate(family.in_parts(test, 250)):
            chosen = tore.explored(network, part.image, n, split=4, seed=seed)
            chance = glimpsed(part.image, n, tore.SMALL, seed=seed)
            for name, seen in (("chosen", chosen), ("random", chance)):
                right[name].append(family.right(network(*seen, split=4), part.label))
        by_policy, by_chance = (100 * np.concatenate(right[k]).mean() for k in right)
        figures.append(Figure(f"tore: {n} random glimpses", by_chance, "%"))
        name = f"tore: {n} chosen glimpses are better by"
        figures.append(at_least(name, by_policy - by_chance, 0.0, "points"))
    return figures


def _points(
    model: Driven, dense: Driven | None
) -> tuple[list[Figure], dict[tuple[str, str], float], Seconds]:
    """Score, time and FLOPs of every point, and a chart of them."""
    models = [model, dense] if dense else [model]
    seconds = _seconds(models, ROUNDS)
    figures, drawn = [], []
    score: dict[tuple[str, str], float] = {}
    for one in models:
        name, quality = one.model.name, one.quality()
        marks: dict[str, list[Mark]] = {}
        for (point, precision), found in quality.items():
            took = 1000 * seconds[f"{name} {point}", precision]
            where = f"{model.model.name}: {'dense' if one is dense else point} {precision}"
            figures.append(Figure(f"{where}: score", 100 * found.score, "%"))
            figures.append(Figure(f"{where}: median", took, "ms"))
            if precision == "fp32":
                figures.append(Figure(f"{where}: GFLOPs", _gflops(one, point), ""))
            marks.setdefault(precision, []).append(Mark(took, 100 * found.score, where))
            if one is model:
                score[point, precision] = 100 * found.score
        drawn += [Series(f"{name} {p}", sorted(m, key=lambda m: m.x)) for p, m in marks.items()]
    _draw(model.model.name, drawn)
    return figures, score, seconds


def _seconds(models: list[Driven], rounds: int) -> Seconds:
    """The median seconds of a request, by model and point, and precision."""
    runs, counts = {}, {}
    for one in models:
        for (point, precision), (work, count) in one.work().items():
            key = f"{one.model.name} {point}", precision
            runs[key], counts[key] = work, count
    return {key: took / counts[key] for key, took in interleaved(runs, rounds).items()}


def _of(seconds: Seconds, model: Driven, point: str = "") -> float:
    return seconds[f"{model.model.name} {point or model.model.points[-1]}", "fp32"]


def _gflops(model: Driven, point: str) -> float:
    return model.gflops(next(p for p in model.model.points if str(p) == point))


def _draw(name: str, series: list[Series]) -> None:
    CHARTS.mkdir(exist_ok=True)
    svg = chart(series, "ms a request, one thread", "accuracy, %").partition("</svg>")[0]
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, _, rest = svg.partition(">")
    keys = "\n".join(
        f'<text x="480" y="{230 + 18 * i}" style="fill:var(--c{i})">{escape(one.name)}</text>'
        for i, one in enumerate(series)
    )
    (CHARTS / f"{name}.svg").write_text(f"{head}>{STYLE}{rest}{keys}\n</svg>\n")
