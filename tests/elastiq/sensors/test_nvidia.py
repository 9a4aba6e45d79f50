"""The sensor of NVIDIA GPUs: with the maintained package here, and a library made up for a GPU."""

from types import SimpleNamespace

import pytest

from elastiq.sensors.nvidia import NvidiaSensor

pynvml = pytest.importorskip("pynvml")


class Library:
    """What the driver's library says of one GPU; the names are those of the real one."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
    nvmlClocksThrottleReasonHwSlowdown = pynvml.nvmlClocksThrottleReasonHwSlowdown  # noqa: N815

    def __init__(self, busy=40, used=2, heat=45, limit=90, reasons=0, failing=()):
        self._told = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByIndex": "first",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=busy),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=used, total=8),
            "nvmlDeviceGetTemperature": heat,
            "nvmlDeviceGetTemperatureThreshold": limit,
            "nvmlDeviceGetCurrentClocksEventReasons": reasons,
        }
        self._failing = failing

    def __getattr__(self, name):
        if name not in self._told:
            raise AttributeError(name)
        assert hasattr(pynvml, name)

        def call(*arguments):
            if name in self._failing:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return self._told[name]

        return call


def test_a_gpu_is_read_in_shares():
    slow = pynvml.nvmlClocksThrottleReasonHwSlowdown
    assert NvidiaSensor(Library()).read() == {
        "gpu": 0.4,
        "gpu_memory": 0.25,
        "gpu_heat": 0.5,
        "gpu_throttled": 0.0,
    }
    assert NvidiaSensor(Library(heat=95, reasons=slow | 1)).read()["gpu_throttled"] == 1.0
    assert NvidiaSensor(Library(heat=95)).read()["gpu_heat"] == 1.0


def test_what_a_gpu_does_not_tell_or_tells_wrongly_is_left_out():
    failing = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperatureThreshold")
    found = NvidiaSensor(Library(used=99, failing=failing)).read()
    assert found == {"gpu_throttled": 0.0}
    every = [name for name in Library()._told if name.startswith("nvmlDeviceGet")][1:]
    assert NvidiaSensor(Library(failing=every)).read() is None


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_without_a_gpu_it_says_nothing(failing):
    assert NvidiaSensor(Library(failing=(failing,))).read() is None


def test_the_real_library_is_asked_here_whether_or_not_there_is_a_gpu():
    values = NvidiaSensor().read()
    assert values is None or all(0.0 <= value <= 1.0 for value in values.values())
