"""What this device is: the fingerprint that a latency table belongs to, and its circumstances."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elastiq import digest, energy, sysfs

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
X86 = ("x86_64", "AMD64")
ROOT = Path("/")
TOLD = {  # by some devices, beside what all tell
    "jetson linux": "etc/nv_tegra_release",
    "power mode": "var/lib/nvpmodel/status",  # of a Jetson
    "power profile": "sys/firmware/acpi/platform_profile",  # of a laptop
}
PACKAGES = ("numpy", "onnxruntime", "openvino", "apache-tvm", "tensorrt", "tensorrt_rtx")
COLDEST, HOTTEST = -40.0, 150.0  # °C: beyond, a sensor is broken


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

    @property
    def exact_in_int8(self) -> bool:
        """Whether its fastest products of u8 and s8 are exact. x86 CPUs without VNNI add two of
        them in 16 bits, which 8 bits overflow."""
        return self.machine not in X86 or any("vnni" in flag for flag in self.flags)


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


def circumstances(root: Path = ROOT) -> dict[str, str]:
    """What a measurement on this device depends on and may change between two of them."""
    device = this()
    governor = sysfs.text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    told = {name: text for name, path in TOLD.items() if (text := sysfs.text(root / path))}
    return {
        "cpu": device.cpu,
        "cores": str(device.cores),
        "flags": " ".join(device.flags),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": governor or "unknown",
        **{name: " ".join(text.split()) for name, text in told.items()},
        **versions(),
        "energy": energy.meter().name,
    }


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of what engines run on here, or of other packages; those that are not here
    are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def clock(root: Path = ROOT) -> float | None:
    """The present clock in MHz, on average over all cores, or None."""
    files = sysfs.below(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
    found = [hertz / 1000 for path in files if (hertz := sysfs.number(path))]
    if not found:  # a virtual machine knows no better
        try:
            text = (root / "proc/cpuinfo").read_text()
        except OSError:
            return None
        found = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.MULTILINE)]
    return sum(found) / len(found) if found else None


def temperature(root: Path = ROOT) -> float | None:
    """How hot the hottest part is in °C, or None."""
    zones = sysfs.below(root / "sys/class/thermal", "thermal_zone*/temp")
    found = [degrees / 1000 for path in zones if (degrees := sysfs.number(path)) is not None]
    return max((degrees for degrees in found if COLDEST <= degrees <= HOTTEST), default=None)


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in reversed(list(pairs))}
