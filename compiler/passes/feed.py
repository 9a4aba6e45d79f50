"""Feed: what each graph is fed while the model answers the calibration requests.

A model of one stage is fed its requests. Of several stages, the later ones are fed what the earlier
ones make of them, which is recorded while the driver runs the model in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from calibration.data import Batch, CalibrationData, prepare
from compiler.eager import rehearse
from compiler.source import SourceModel
from elastiq.errors import ElastiqError
from elastiq.records import Graph, Point

SAMPLES = 128


class Feeds:
    """The calibration data of a model's graphs; recorded when it is asked for, once."""

    def __init__(self, model: SourceModel, batches: Sequence[Batch], samples: int = SAMPLES):
        self._model = model
        self._batches = batches
        self._samples = samples

    def of(self, graph: Graph, limit: int) -> CalibrationData:
        """At most so many feeds of a graph."""
        where = f"{self._model.spec} at {graph.point}, stage {graph.stage!r}"
        stages = self._model.stages[graph.point]
        if len(stages) == 1:
            return prepare(self._batches, graph.inputs, limit, where)
        feeds = self._recorded[stages[graph.stage].identity]
        if not feeds:
            raise ElastiqError(
                f"{where}: no calibration sample reaches this stage. Give more samples, or drop it"
            )
        return CalibrationData(_spread(feeds, limit))

    @cached_property
    def _recorded(self) -> dict[object, tuple[Batch, ...]]:
        """The feeds of every stage; of one object at several points, from all of them."""
        found: dict[object, dict[str, Batch]] = {}
        for point in self._model.points:
            stages = self._model.stages[point]
            for name, calls in rehearse(self._model, point, self._requests(point)).items():
                of_stage = found.setdefault(stages[name].identity, {})
                for fed, _ in calls:
                    feed = {key: np.array(array) for key, array in fed.items()}
                    # Two requests may well be one to a later stage: it counts once.
                    of_stage.setdefault(CalibrationData((feed,)).digest, feed)
        return {
            stage: _spread(list(feeds.values()), self._samples) for stage, feeds in found.items()
        }

    def _requests(self, point: Point) -> tuple[Batch, ...]:
        where = f"{self._model.spec} at {point}"
        return prepare(self._batches, self._model.request(point), self._samples, where).feeds


def _spread(feeds: Sequence[Batch], limit: int) -> tuple[Batch, ...]:
    """At most so many, from all over."""
    if len(feeds) <= limit:
        return tuple(feeds)
    return tuple(feeds[place] for place in np.linspace(0, len(feeds) - 1, limit).astype(int))
