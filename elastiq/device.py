"""What this device is: the fingerprint that a latency table belongs to, and its circumstances."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from elastiq import digest

# The instructions that decide which kernels a runtime picks, and so how fast an engine is.
TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)
JETSON = {
    "jetson linux": Path("/etc/nv_tegra_release"),
    "power mode": Path("/var/lib/nvpmodel/status"),
}


@dataclass(frozen=True)
class Device:
    """A machine, as far as the cost of an engine depends on it."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    machine: str
    memory_gib: int

    @property
    def name(self) -> str:
        """A file name that two machines share only if they are alike."""
        short = re.sub(r"[^a-z0-9]+", "-", self.cpu.lower()).strip("-")[:40]
        parts = [self.cpu, self.cores, self.flags, self.machine, self.memory_gib]
        return f"{short}-{self.cores}c-{digest.of_value(parts)[:8]}"


@lru_cache(maxsize=1)
def this() -> Device:
    """The device this process runs on."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Device(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        flags=tuple(flag for flag in TELLING_FLAGS if flag in flags),
        machine=platform.machine(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    )


def circumstances() -> dict[str, str]:
    """What a measurement on this device depends on and may change between two of them."""
    device = this()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    told = {name: path for name, path in JETSON.items() if path.exists()}
    return {
        "cpu": device.cpu,
        "cores": str(device.cores),
        "flags": " ".join(device.flags),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": governor.read_text().strip() if governor.exists() else "unknown",
        **{name: " ".join(path.read_text().split()) for name, path in told.items()},
    }


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in reversed(list(pairs))}
