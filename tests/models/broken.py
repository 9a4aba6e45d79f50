"""Models that a user might bring, each with one thing wrong."""

import numpy as np
import torch
from torch import nn

SHAPE = (1, 4)


class Base:
    """A right model to spoil."""

    name = "broken"

    def points(self):
        return [{"queries": 1}, {"queries": 2}]

    def module(self, point):
        return nn.Linear(4, 3)

    def stages(self, point):
        return {"main": (self.module(point).eval(), {"input": torch.zeros(SHAPE)})}

    def calibration(self):
        yield {"input": np.ones((8, 4), np.float32)}


class NoPoints(Base):
    def points(self):
        return []


class ShapeChanges(Base):
    def module(self, point):
        return nn.Linear(4, 2 + point["queries"])


class DataDependent(Base):
    def module(self, point):
        class Branch(nn.Module):
            def forward(self, input):
                return input * 2 if input.sum() > 0 else input - 1

        return Branch()


class UnknownOp(Base):
    def module(self, point):
        class Inner(nn.Module):
            def forward(self, input):
                return torch.linalg.eigvals(input.reshape(2, 2)).real

        class Outer(nn.Module):
            def __init__(self):
                super().__init__()
                self.spectrum = Inner()

            def forward(self, input):
                return self.spectrum(input)

        return Outer()


class Crashes(Base):
    def stages(self, point):
        raise RuntimeError("the disk with the weights is not mounted")


class EmptyCalibration(Base):
    def calibration(self):
        return iter(())


class WrongShape(Base):
    def calibration(self):
        yield {"input": np.ones((8, 5), np.float32)}


class WrongType(Base):
    def calibration(self):
        yield {"input": np.ones((8, 4), np.float64)}


class WrongName(Base):
    def calibration(self):
        yield {"image": np.ones((8, 4), np.float32)}


class HoldsNan(Base):
    def calibration(self):
        x = np.ones((8, 4), np.float32)
        x[5, 2] = np.nan
        yield {"input": x}


class Endless(Base):
    def calibration(self):
        while True:
            yield {"input": np.ones((8, 4), np.float32)}


class NoPolicy(Base):
    driver = "cascade"
    driver_settings = {"buckets": [{"stage": "main", "tokens": 1, "gates": [1], "share": 1.0}]}  # noqa: RUF012


class NoJson(Base):
    driver_settings = {"array": np.ones(3)}  # noqa: RUF012
