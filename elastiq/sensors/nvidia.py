"""An NVIDIA GPU, through the driver's own library: pip install 'elastiq[nvidia]'."""

from __future__ import annotations

from typing import Any

BAD_CLOCKS = (  # reasons for slow clocks that are not of our own choosing
    "nvmlClocksEventReasonSwThermalSlowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    "nvmlClocksThrottleReasonHwSlowdown",
)


class NvidiaSensor:
    """Reads, of the first GPU and as shares (0…1): `gpu`, how busy it is; `gpu_memory`, how full;
    `gpu_heat`, of the temperature at which it slows down; and whether it is `gpu_throttled`."""

    name = "nvidia"
    period = 0.2

    def __init__(self, given: Any = None) -> None:
        self._library = given if given is not None else library()
        self._device = first(self._library)

    def read(self) -> dict[str, float] | None:
        if self._device is None:
            return None
        found = {
            "gpu": self._share(self._busy),
            "gpu_memory": self._share(self._full),
            "gpu_heat": self._share(self._heat),
            "gpu_throttled": self._share(self._throttled),
        }
        return {name: share for name, share in found.items() if share is not None} or None

    def _share(self, reading: Any) -> float | None:
        """A reading, or None where this GPU does not tell, or tells what cannot be."""
        try:
            value = float(reading())
        except self._library.NVMLError:
            return None
        return value if 0.0 <= value <= 1.0 else None

    def _busy(self) -> float:
        return float(self._library.nvmlDeviceGetUtilizationRates(self._device).gpu) / 100.0

    def _full(self) -> float:
        memory = self._library.nvmlDeviceGetMemoryInfo(self._device)
        return float(memory.used) / memory.total if memory.total else -1.0

    def _heat(self) -> float:
        nvml = self._library
        now = nvml.nvmlDeviceGetTemperature(self._device, nvml.NVML_TEMPERATURE_GPU)
        limit = nvml.nvmlDeviceGetTemperatureThreshold(
            self._device, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        )
        return min(1.0, now / limit) if limit > 0 else -1.0

    def _throttled(self) -> float:
        nvml = self._library
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(self._device)
        return float(any(reasons & getattr(nvml, name, 0) for name in BAD_CLOCKS))


def library() -> Any:
    """The driver's library, or None."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def first(library: Any) -> Any:
    """The first GPU as the library knows it, or None."""
    if library is None:
        return None
    try:
        library.nvmlInit()
        return library.nvmlDeviceGetHandleByIndex(0)
    except library.NVMLError:
        return None


def sensor() -> NvidiaSensor:
    return NvidiaSensor()
